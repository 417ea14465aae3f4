"""Whether everything is as the receipt says it was left."""

from __future__ import annotations

from local_opus.actions.tune_machine import TuneMachine
from local_opus.actions.tune_openvino import TuneOpenvino
from local_opus.apply import Applier
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    advise,
    failed,
    passed,
    restored,
    told,
    warned,
)
from local_opus.checks.context import Context
from local_opus.restoring import damages, install_command

_SECONDS = 30.0
#: Actions whose results a node does without, and what measures them again.
_MEASURED = {
    TuneOpenvino.kind: "local-opus tune",
    TuneMachine.kind: "local-opus tune --machine",
}
_DEFAULTS = "Measure again; until then the defaults hold."


def ask(context: Context) -> Answer:
    """Look at each action of the install: what is missing or damaged, and what was edited."""
    journal = context.journal()
    edits = Applier(journal).edits()
    found = damages(journal, edits)
    lines = [f"{one.what}: {one.evidence}" for one in found]
    # What was refused to an install is no edit; its own check tells of it.
    edited = [edit for id_, edit in edits.items() if id_ != "lingering"]
    kept = [f"{edit} (kept as it is)" for edit in edited]
    if found:
        rest = [one for one in found if not one.is_safe]
        evidence, details = told(lines, "things are missing or damaged")
        if (kinds := {one.kind for one in found}) <= set(_MEASURED):  # it serves without them
            again = advise(_DEFAULTS, *(_MEASURED[kind] for kind in sorted(kinds)))
            return warned(evidence, again, details=(*details, *kept))
        fix = restored()
        if rest:
            fix = advise("Install the same again.", install_command(journal.history))
        fixable = len(rest) < len(found)
        return failed(evidence, fix, details=(*details, *kept), fixable=fixable)
    if kept:
        evidence, details = told(kept, "files were edited since they were written")
        return warned(evidence, details=details)
    count = sum(entry.active for entry in journal.history.entries)
    return passed(f"{count} actions of the receipt are as they were left")


CHECK = Check("drift", "as installed", Group.INSTALL, ask, _SECONDS)
