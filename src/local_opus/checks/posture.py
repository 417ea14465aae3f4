"""Whether the offline posture holds: variables, units, telemetry, address."""

from __future__ import annotations

from local_opus import posture
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
)
from local_opus.checks.context import Context
from local_opus.posture import Part, State
from local_opus.restoring import install_command

_SECONDS = 20.0


def ask(context: Context) -> Answer:
    """Look at each part, and name what drifted with its evidence."""
    history = context.history()
    found = posture.parts(context.host, context.locations, history)
    if all(part.state is State.NOT_APPLICABLE for part in found):
        raise NotApplicableError("the profile has no offline posture, and nothing of a node runs")
    details = [_words(part) for part in found]
    drifted = [part for part in found if part.state is State.DRIFTED]
    if drifted:
        first = drifted[0].evidence
        more = f" (and {len(drifted) - 1} more)" if len(drifted) > 1 else ""
        return failed(
            f"{first}{more}",
            advise(
                "Correct what is named, or remove the file and have it written again.",
                install_command(history),
            ),
            details=details,
        )
    applied = [part.id for part in found if part.state is State.APPLIED]
    return passed(f"applied: {', '.join(applied)}", *details)


def _words(part: Part) -> str:
    return f"{part.id}: {part.state}: {part.evidence}"


CHECK = Check("posture", "offline posture", Group.INSTALL, ask, _SECONDS)
