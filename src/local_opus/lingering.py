"""Whether a user's node goes on without a login, in words."""

from __future__ import annotations

from collections.abc import Mapping

from local_opus.actions.enable_linger import by_admin, lingers
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values import Scope

ON = "on: the node goes on without a login, and starts with the machine"
_OFF = "the node ends with your last logout, and does not start with the machine"


def told(host: Host, locations: Locations, run: Mapping[str, object]) -> str | None:
    """Say it; ``run`` are the facts of the install's run. None: nobody's login matters here."""
    user = host.accounts.own_name()
    under_systemd = host.services.running(locations.scope)
    if locations.scope is not Scope.USER or user is None or not under_systemd:
        return None
    if lingers(host, user):
        return ON
    if run.get("linger") is False:
        return f"off, as it was asked for: {_OFF}"
    return f"off: {_OFF}; an administrator turns it on with `{by_admin(user)}`"
