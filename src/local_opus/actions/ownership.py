"""Groups by name, as actions need them, and as a running server has them."""

from __future__ import annotations

from local_opus import node
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import GROUP, locate
from local_opus.values import Scope


def group_number(host: Host, name: str | None, *, required: bool = False) -> int | None:
    """Return the number of a group; None for no name, or no such group where it is not required."""
    if name is None:
        return None
    number = host.accounts.group_id(name)
    if number is None and required:
        raise LocalOpusError(
            f"group {name}: it does not exist", "Run the install again: it makes the group first."
        )
    return number


def lost_group(host: Host, scope: Scope) -> str | None:
    """Say so where the system's server runs with a number that its group had before; else None.

    A group that was removed and made again has another number. A server that was started before
    could not read its files again.
    """
    number = host.accounts.group_id(GROUP)
    running = node.serving(host, locate(scope, host.environ))
    if scope is Scope.USER or host.euid != 0 or number is None or running is None:
        return None
    if node.in_group(host, running.pid, number):
        return None
    return f"PID {running.pid} is not in the group {GROUP} ({number})"
