"""What is known of the user's systemd: measured now, or when the install was made."""

from __future__ import annotations

from pydantic import ValidationError

from local_opus import whereabouts
from local_opus.errors import LocalOpusError
from local_opus.facts import user_manager
from local_opus.history import History
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values.user_manager import UserManager

#: The fact of a run in the receipt.
FACT = "user_manager"


def measure(host: Host) -> UserManager | None:
    """Measure what the user's systemd enforces; None where none answers."""
    raw = user_manager.read(host)
    return None if raw is None else user_manager.parse(raw)


def recorded(history: History) -> UserManager | None:
    """Return what the last finished run measured; None: it did not, or of another program."""
    said = (history.last_run or history.run).get(FACT)
    try:
        return None if said is None else UserManager.model_validate_json(str(said))
    except ValidationError:
        return None


def to_plan(host: Host, locations: Locations) -> UserManager | None:
    """Return what a plan goes by: measured, but where that failed and nothing changed, recorded.

    A machine that was too busy to answer in time must not get other units for it.
    """
    now = measure(host)
    if now is None or now.problem is None:
        return now
    before = _before(host, locations)
    return before if before is not None and before.version == now.version else now


def known(host: Host, locations: Locations) -> UserManager | None:
    """Return what was measured at the install, or now where the version is another since."""
    before = _before(host, locations)
    if before is not None and before.version == user_manager.version(host):
        return before
    return measure(host)


def _before(host: Host, locations: Locations) -> UserManager | None:
    try:
        return recorded(whereabouts.receipt(host, locations).history)
    except (LocalOpusError, OSError):  # damaged or closed: doctor's check of it tells
        return None
