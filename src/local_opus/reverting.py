"""The way back to before the install: of all that a receipt names, or of one entry."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from local_opus.errors import InterruptedRunError, LocalOpusError, SilentSystemdError
from local_opus.history import Entry, Event
from local_opus.journal import Journal, Outcome
from local_opus.refusals import words


def revert_all(journal: Journal, wanted: Callable[[Entry], bool] = lambda _entry: True) -> Outcome:
    """Revert every active entry that is ``wanted``; each is asked once.

    The order is that of ``Action.turn``. What can't be reverted does not stop the rest; it is
    raised at the end. But what a service runs from stays until that can be ended.
    """
    outcome = Outcome()
    problems: list[LocalOpusError] = []
    journal.reach()
    for entry in journal.in_turn(entry for entry in journal.history.entries if entry.active):
        if not wanted(entry):
            continue
        try:
            revert_one(journal, entry, outcome, for_good=not problems)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "interrupted; what was taken back so far is in the receipt",
                "Run `uninstall` again to go on.",
            ) from error
        except SilentSystemdError:
            raise
        except LocalOpusError as error:
            problems.append(error)
        except OSError as error:
            problems.append(LocalOpusError(f"{entry.id}: {words(error)}",
                                           "Fix that and run `uninstall` again."))  # fmt: skip
    if problems:
        raise LocalOpusError(
            f"{problems[0].message}" + (f" (and {len(problems) - 1} more)" * (len(problems) > 1)),
            problems[0].remedy,
            details=[problem.message for problem in problems[1:]],
        )
    return outcome


def revert_one(journal: Journal, entry: Entry, outcome: Outcome, *, for_good: bool) -> None:
    """Revert an entry; unless it is ``for_good`` what is in its way for now keeps it listed."""
    journal.listener.started(entry.id, f"take back: {journal.of(entry).summary()}")
    reverted = journal.take_back(entry, "before")
    if reverted.later and not for_good:
        journal.listener.finished(entry.id, "kept")
        return
    reason: dict[str, JsonValue] = {"kept": reverted.kept} if reverted.kept else {}
    journal.receipt.append(Event.REVERTED, id=entry.id, data=reason)
    if reverted.kept:
        outcome.kept.append(reverted.kept)
    else:
        outcome.changed.append(entry.id)
    journal.listener.finished(entry.id, "kept" if reverted.kept else "taken back")
