"""Where the monitor's unit keeps its state, for those who read it: status, doctor, a person's look.

systemd makes the folder, StateDirectory=local-opus-monitor. That of a unit with DynamicUser lies
below /var/lib/private, closed to all but root; that of a user's below XDG_STATE_HOME, and before
systemd 254 below XDG_CONFIG_HOME (systemd.exec(5)).
"""

from __future__ import annotations

from collections.abc import Iterable

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import MONITOR_UNIT, Locations, locate
from local_opus.monitor import state
from local_opus.monitor.history import History, State
from local_opus.values import Scope

NAME = MONITOR_UNIT.removesuffix(".service")


def folders(locations: Locations) -> tuple[str, ...]:
    """Return where the state of a scope may lie."""
    if locations.scope is Scope.SYSTEM:
        return (f"/var/lib/private/{NAME}",)
    bases = (locations.state, locations.config)
    return tuple(f"{base.rpartition('/')[0]}/{NAME}" for base in bases)


def read(host: Host, locations: Locations) -> State | None:
    """Return what the unit keeps; None: there is none. Raises PermissionError where it is closed.

    Of two the newer: an upgrade of systemd moves the folder.
    """
    found = [state.peek(host, folder) for folder in folders(locations)]
    return max((one for one in found if one is not None), key=lambda one: one.written_at,
               default=None)  # fmt: skip


def histories(host: Host, scopes: Iterable[Scope]) -> dict[str, History]:
    """Return the last hour of these scopes' servers, as far as this user may read it."""
    found: dict[str, History] = {}
    for scope in scopes:
        try:
            kept = read(host, locate(scope, host.environ))
        except (LocalOpusError, PermissionError):  # no HOME; root's
            continue
        if kept is not None:
            found |= {name: state.current(one, host.uptime()) for name, one in kept.servers.items()}
    return found
