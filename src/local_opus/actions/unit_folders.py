"""Folders that systemd makes for a unit: StateDirectory=, CacheDirectory= (systemd.exec(5))."""

from __future__ import annotations

from local_opus.host import Host
from local_opus.locations import locate
from local_opus.values import Scope


def bases(host: Host, scope: Scope) -> tuple[str, ...]:
    """Name the folders in which systemd makes StateDirectory=.

    Of a user it is that of XDG_CONFIG_HOME before systemd 254, of XDG_STATE_HOME since.
    """
    if scope is Scope.SYSTEM:
        return ("/var/lib",)
    places = locate(scope, host.environ)
    return tuple(path.rpartition("/")[0] for path in (places.config, places.state))


def _caches(host: Host, scope: Scope) -> str:
    """Name the folder in which systemd makes CacheDirectory=."""
    if scope is Scope.SYSTEM:
        return "/var/cache"
    return host.environ.get("XDG_CACHE_HOME") or f"{host.environ.get('HOME', '')}/.cache"


def remove(host: Host, scope: Scope, folder: str) -> None:
    """Remove the state and the cache of that name, those of a dynamic user too."""
    for base in (*bases(host, scope), _caches(host, scope)):
        for path in (f"{base}/{folder}", f"{base}/private/{folder}"):
            if host.files.stat(path) is not None:
                host.files.remove_tree(path)
