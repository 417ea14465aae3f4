"""Whether the installed model thinks; asked only where the user wants it, as it takes its time."""

from __future__ import annotations

from local_opus import canary, verification
from local_opus.checks.base import Answer, Check, Group, passed
from local_opus.checks.context import Context
from local_opus.values import CheckState

_SECONDS = 600.0


def ask(context: Context) -> Answer:
    """Verify the files as ``verify --quick``, then force the canary's text through the model."""
    context.settings()
    subjects = verification.subjects(context.host, context.locations, None)
    results = [verification.verify(context.host, one, quick=True) for one in subjects]
    said = canary.ask(context.host, context.locations, results)
    return passed(f"mean log-probability {said['canary']}, within {said['canary_band']}")


CHECK = Check("canary", "canary", Group.MODEL, ask, _SECONDS, CheckState.FAIL)
