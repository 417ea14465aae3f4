"""What ``status`` says of a node besides its server: its profile, its posture, a user's limits."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus import lingering, posture, user_units
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.monitor import telling
from local_opus.receipts import Receipt, is_there
from local_opus.values import Scope


def told(host: Host, locations: Locations) -> dict[str, JsonValue]:
    """Return the keys; none where nothing is installed, or the receipt can't be read.

    A receipt that is damaged, or closed to this user, is the matter of ``doctor``.
    """
    try:
        if not is_there(host, locations.receipt):
            return {}
        history = Receipt(host, locations.receipt).history
    except (LocalOpusError, PermissionError):
        return {}
    if history.left or not any(entry.active for entry in history.entries):
        return {}
    found: dict[str, JsonValue] = {
        "profile": str(history.last_run.get("profile") or history.run.get("profile")),
        "posture": posture.told(host, locations, history),
    }
    if (none := posture.without_server(history)) is not None:
        return {**found, "installed": True, "serves": False, "server": none,
                "problem": None, "fix": None}  # fmt: skip
    return {
        **found,
        "serves": True,
        "lingering": lingering.told(host, locations, history.last_run),
        "not_enforced": _not_enforced(host, locations),
        "monitor": telling.told(host, locations),
    }


def is_sound(found: dict[str, JsonValue]) -> bool:
    """Whether a node without a server is as it should be: nothing of its posture drifted."""
    stands = found.get("posture")
    parts = stands.get("parts") if isinstance(stands, dict) else None
    drifted = any(
        isinstance(one, dict) and one.get("state") == posture.State.DRIFTED
        for one in (parts if isinstance(parts, list) else [])
    )
    return found.get("serves") is False and not drifted


def _not_enforced(host: Host, locations: Locations) -> JsonValue:
    """Return the directives that the user's systemd ignores; None: it is not one of a user."""
    if locations.scope is not Scope.USER or not host.services.running(locations.scope):
        return None
    known = user_units.known(host, locations)
    return None if known is None else list(known.not_enforced)
