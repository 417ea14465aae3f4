"""Whether everything is as the receipt says it was left."""

from __future__ import annotations

from local_opus.apply import Applier
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    advise,
    by_doctor,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.restoring import damages, install_command

_SECONDS = 30.0


def ask(context: Context) -> Answer:
    """Look at each action of the install: what is missing or damaged, and what was edited."""
    journal = context.journal()
    edits = Applier(journal).edits()
    found = damages(journal, edits)
    lines = [f"{one.what}: {one.evidence}" for one in found]
    kept = [f"{edit} (kept)" for edit in edits.values()]
    if found:
        rest = [one for one in found if not one.is_safe]
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return failed(
            f"{lines[0]}{more}",
            by_doctor("Have it restored from the receipt.")
            if not rest
            else advise("Install the same again.", install_command(journal.history)),
            details=[*lines, *kept],
            fixable=len(rest) < len(found),
        )
    count = sum(entry.active for entry in journal.history.entries)
    if kept:
        more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
        return warned(f"{kept[0]}{more}", details=kept)
    return passed(f"{count} actions of the receipt are as they were left")


CHECK = Check("drift", "as installed", Group.INSTALL, ask, _SECONDS)
