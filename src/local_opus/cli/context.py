"""What most commands need: the host, and the install that they mean."""

from __future__ import annotations

from local_opus.host import Host
from local_opus.locations import Locations, default_scope, locate
from local_opus.values import Scope


def open_host(root: str = "/") -> Host:
    """Return the host below ``root``."""
    return Host(root)


def find_install(host: Host, scope: str | None) -> Locations:
    """Return the locations of the install that is there.

    Without a scope: this user's own install, else the system's, else the default scope's (where
    nothing is installed yet).
    """
    if scope is not None:
        return locate(Scope(scope), host.environ)
    first = locate(default_scope(host.euid), host.environ)
    if host.files.stat(first.receipt) is not None or first.scope is Scope.SYSTEM:
        return first
    system = locate(Scope.SYSTEM, host.environ)
    return system if host.files.stat(system.state) is not None else first
