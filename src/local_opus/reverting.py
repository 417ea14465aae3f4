"""The way back to before the install: of all that a receipt names, or of one entry."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from local_opus.errors import InterruptedRunError, LocalOpusError, SilentSystemdError
from local_opus.history import Entry, Event
from local_opus.journal import Journal, Outcome
from local_opus.refusals import words


class WayBack:
    """Reverts the active entries of a journal, in the order of ``Action.turn``.

    What can't be reverted does not stop the rest; ``end`` raises it. But what a service runs from
    stays until that can be ended.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._outcome = Outcome()
        self._problems: list[LocalOpusError] = []
        journal.reach()

    def revert(self, wanted: Callable[[Entry], bool]) -> None:
        """Revert those that are ``wanted``; each is asked for in its turn.

        Raises InterruptedRunError, and SilentSystemdError.
        """
        try:
            self._revert(wanted)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "interrupted; what was taken back so far is in the receipt",
                "Run `uninstall` again to go on.",
            ) from error

    def _revert(self, wanted: Callable[[Entry], bool]) -> None:
        journal = self._journal
        for entry in journal.in_turn(one for one in journal.history.entries if one.active):
            if not wanted(entry):
                continue
            try:
                revert_one(journal, entry, self._outcome, for_good=not self._problems)
            except SilentSystemdError:
                raise
            except LocalOpusError as error:
                self._problems.append(error)
            except OSError as error:
                remedy = "Fix that and run `uninstall` again."
                self._problems.append(LocalOpusError(f"{entry.id}: {words(error)}", remedy))

    def end(self) -> Outcome:
        """Return what it came to. Raises LocalOpusError for what could not be reverted."""
        if not self._problems:
            return self._outcome
        first, *more = self._problems
        raise LocalOpusError(
            first.message + (f" (and {len(more)} more)" if more else ""),
            first.remedy,
            details=[problem.message for problem in more],
        )


def revert_all(journal: Journal) -> Outcome:
    """Revert every active entry. Raises LocalOpusError for what could not be reverted."""
    way = WayBack(journal)
    way.revert(lambda _entry: True)
    return way.end()


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
    if reverted.told:
        outcome.kept.append(reverted.told)
    journal.listener.finished(entry.id, "kept" if reverted.kept else "taken back")
