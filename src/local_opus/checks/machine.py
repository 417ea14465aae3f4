"""Whether what was measured to gain on this machine is set, and whether somebody changed it."""

from __future__ import annotations

from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    passed,
    told,
    warned,
)
from local_opus.checks.context import Context
from local_opus.errors import LocalOpusError
from local_opus.locations import TUNE_UNIT
from local_opus.machine import standing

#: By who sets them: the unit, or the start of the server.
_SET_AGAIN = (f"sudo systemctl restart {TUNE_UNIT}",)
_START_AGAIN = ("sudo local-opus stop", "sudo local-opus start")
_MEASURE = "sudo local-opus tune --machine"


def ask(context: Context) -> Answer:
    """Compare what was chosen with what the files of the kernel and the unit hold now."""
    found = standing.report(context.host, context.locations, _device(context))
    if found is None:
        raise NotApplicableError("nothing of this machine is to be set")
    if not found.items:
        return warned(found.problem or found.verdict, advise("Measure it.", _MEASURE))
    wrong = [
        f"{one.id}: {one.reason}" for one in found.items if one.state in {"drifted", "not applied"}
    ]
    if wrong:
        evidence, details = told(wrong, "settings are not as they were measured to gain")
        by_unit = context.host.services.running(context.locations.scope)
        again = _SET_AGAIN if by_unit else _START_AGAIN
        fix = advise("Find what else sets them, then have them set again.", *again)
        return warned(evidence, fix, details=details)
    if found.problem is not None:
        return warned(f"not measured: {found.problem}", advise("Measure it again.", _MEASURE))
    return passed(found.verdict, *found.details)


def _device(context: Context) -> str | None:
    """Return the server's device; None: there is none, or its own check tells what is wrong."""
    try:
        return context.settings().device
    except (NotApplicableError, LocalOpusError):
        return None


CHECK = Check("machine", "machine settings", Group.MACHINE, ask)
