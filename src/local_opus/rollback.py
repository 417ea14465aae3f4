"""The way back of a run that failed: to what the last finished one left."""

from __future__ import annotations

from local_opus.errors import LocalOpusError
from local_opus.history import Event
from local_opus.journal import Journal, Outcome
from local_opus.refusals import words


def roll_back(journal: Journal, outcome: Outcome, error: Exception) -> None:
    """Put everything back as it was at the last rest.

    What interrupted runs since then did goes too. A step that can't be put back does not stop the
    others; it stays in the receipt, so that the next run or an uninstall deals with it, and is
    named with the failure.
    """
    journal.record(Event.FAILED, data={"reason": str(getattr(error, "message", error))})
    history = journal.history
    undone = history.unfinished()
    journal.reach()
    problems = []
    for entry in journal.in_turn(undone):
        summary = journal.of(entry).summary()
        journal.listener.started(entry.id, f"take back: {summary}")
        try:
            reverted = journal.take_back(entry, "found")
        except (LocalOpusError, OSError) as problem:
            problems.append(f"{summary}: {words(problem)}")
            journal.listener.finished(entry.id, "kept")
            continue
        if reverted.kept is None:
            back = entry.id in history.last_entries
            journal.record(Event.RESTORED if back else Event.REVERTED, id=entry.id)
        elif not reverted.later:
            problems.append(reverted.kept)
        journal.listener.finished(entry.id, "kept" if reverted.kept else "taken back")
    for entry in undone:  # in order, and only now: what was there before is whole again
        try:
            journal.resume(entry)
        except (LocalOpusError, OSError) as problem:
            problems.append(f"{journal.of(entry).summary()}: {words(problem)}")
    outcome.kept += problems
    if not problems:
        _rest(journal)
    if isinstance(error, LocalOpusError):
        error.details = (*error.details, *(f"not taken back: {line}" for line in problems))


def _rest(journal: Journal) -> None:
    """Say that it stands as at the last rest, in the words of that one."""
    history = journal.history
    if history.rested is Event.FINISHED:
        journal.record(Event.RUN, data=history.last_run)
        journal.record(Event.FINISHED, data=history.result)
    elif history.rested is Event.LEFT:
        journal.record(Event.LEFT)
