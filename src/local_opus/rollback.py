"""The way back of a run that failed: to what the last finished one left."""

from __future__ import annotations

from collections.abc import Sequence

from local_opus.errors import LocalOpusError
from local_opus.history import Entry, Event
from local_opus.journal import Journal, Outcome
from local_opus.refusals import is_full, reason, words


def roll_back(journal: Journal, outcome: Outcome, error: Exception) -> None:
    """Put everything back as it was at the last rest.

    What interrupted runs since then did goes too. A step that can't be put back does not stop the
    others; it stays in the receipt, so that the next run or an uninstall deals with it, and is
    named with the failure.
    """
    journal.record(Event.FAILED, data={"reason": reason(error)})
    journal.reach()
    undone, problems = _known(journal)
    problems += _take_back(journal, undone)
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


def _known(journal: Journal) -> tuple[list[Entry], list[str]]:
    """Return what is to be taken back, and what the receipt says that can't be an action's."""
    known, problems = [], []
    for entry in journal.history.unfinished():
        try:
            journal.of(entry)
        except LocalOpusError as problem:
            problems.append(problem.message)
        else:
            known.append(entry)
    return known, problems


def _take_back(journal: Journal, entries: Sequence[Entry]) -> list[str]:
    """Take entries back; what a full disk refused once more when the others are gone."""
    problems, refused = [], []
    for entry in journal.in_turn(entries):
        try:
            problem = _take_one(journal, entry)
        except (LocalOpusError, OSError) as error:
            if is_full(error) and len(entries) > 1:
                refused.append(entry)
                continue
            problem = f"{journal.of(entry).summary()}: {words(error)}"
            journal.listener.finished(entry.id, "kept")
        if problem is not None:
            problems.append(problem)
    again = [problem for entry in refused for problem in _take_back(journal, [entry])]
    return [*problems, *again]


def _take_one(journal: Journal, entry: Entry) -> str | None:
    """Take an entry back; return why it was kept, where that is for good."""
    journal.listener.started(entry.id, f"take back: {journal.of(entry).summary()}")
    history = journal.history
    reverted = journal.take_back(entry, "found")
    if reverted.kept is None:
        back = entry.id in history.last_entries
        journal.record(Event.RESTORED if back else Event.REVERTED, id=entry.id)
    journal.listener.finished(entry.id, "kept" if reverted.kept else "taken back")
    return None if reverted.later else reverted.kept


def _rest(journal: Journal) -> None:
    """Say that it stands as at the last rest, in the words of that one."""
    history = journal.history
    if history.rested is Event.FINISHED:
        journal.record(Event.RUN, data=history.last_run)
        journal.record(Event.FINISHED, data=history.result)
    elif history.rested is Event.LEFT:
        journal.record(Event.LEFT)
