"""Run a plan: journal before and after each action; go on where a run was killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pydantic import JsonValue

from local_opus.actions.base import Action, State
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.history import Entry, Event
from local_opus.journal import Journal, Outcome
from local_opus.refusals import explained, reason, words
from local_opus.reverting import revert_one
from local_opus.rollback import roll_back
from local_opus.values import Plan, PlannedAction

#: Proves the result; returns its figures for the receipt, raises LocalOpusError where it fails.
SelfTest = Callable[[], dict[str, JsonValue]]

_GO_ON = "Run the same command again to go on, or `uninstall` to take it back."


class Applier:
    """Applies plans to the machine of a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._host = journal.host
        self._receipt = journal.receipt
        self._listener = journal.listener

    def pending(self, plan: Plan) -> list[str]:
        """Return the ids of the actions that a run would execute or revert now."""
        history = self._receipt.history
        ids = [
            planned.id
            for planned in plan.actions
            if not planned.transient and not self._settled(planned, history.get(planned.id))
        ]
        ids += [entry.id for entry in self._stale(plan) if self._held(entry) is None]
        # A trial is there for the others' sake.
        trials = [planned.id for planned in plan.actions if planned.transient]
        return [*trials, *ids] if ids else []

    def edits(self) -> dict[str, str]:
        """Return what the user edited since it was done: one line each, by the action's id."""
        found = {}
        for entry in self._receipt.history.entries:
            with suppress(PermissionError):  # as in `_settled`
                if (edit := self._journal.edit_of(entry)) is not None:
                    found[entry.id] = edit
        return found

    def apply(
        self, plan: Plan, facts: dict[str, JsonValue], self_test: SelfTest, *, whole: bool = True
    ) -> Outcome:
        """Take the machine to the plan; ``facts`` go into the receipt's RUN record.

        Not the ``whole``: the plan is a part of what is there, and takes nothing else back.

        A failure takes the machine back to where the last finished run left it, and is raised
        again. An interruption (Ctrl-C) leaves what was done, to be resumed, and is raised as
        InterruptedRunError.
        """
        try:
            return self._apply(plan, facts, self_test, whole=whole)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "interrupted; what was done so far is in the receipt", _GO_ON
            ) from error

    def _apply(
        self, plan: Plan, facts: dict[str, JsonValue], self_test: SelfTest, *, whole: bool
    ) -> Outcome:
        outcome = Outcome()
        self._receipt.append(Event.RUN, data=facts)
        try:
            with explained(self._receipt.path):
                self._revert_transients(outcome)
                for planned in plan.actions:
                    self._apply_one(planned, outcome)
                with explained("self-test"):
                    outcome.result = self_test()
                # From here on the new one counts: what comes after is not taken back.
                self._receipt.append(Event.FINISHED, data=outcome.result)
        except Exception as error:
            try:
                roll_back(self._journal, outcome, error)
            except KeyboardInterrupt:
                raise InterruptedRunError(
                    f"interrupted while this was taken back: {reason(error)}", _GO_ON
                ) from error
            raise
        # What the former plan alone held goes last: until here it was the way back.
        for entry in self._stale(plan) if whole else ():
            self._drop(entry, outcome)
        return outcome

    def ensure(self, planned: PlannedAction, *, outside: bool = False) -> None:
        """Do one action now, journalled like the others; ``outside``: it is of no plan."""
        self._apply_one(planned, Outcome(), outside=outside)

    def _settled(self, planned: PlannedAction, entry: Entry | None) -> bool:
        """Whether nothing is to be done: it is there as planned, or the user edited it."""
        if entry is None:
            return False
        action = self._journal.make(planned.kind, planned.params)
        try:
            if action.inspect(self._host).state is State.PRESENT:
                return self._meant(action, planned, entry)
            return self._journal.edit_of(entry) is not None
        except PermissionError:  # its folder is closed, and is opened before it is looked at again
            return False

    def _meant(self, action: Action, planned: PlannedAction, entry: Entry) -> bool:
        """Whether what an entry left, if it is still there, is all that is planned."""
        if entry.status is Event.BEGIN:
            return False
        if entry.params == planned.params:
            return True
        return entry.kind == planned.kind and action.covers(self._journal.of(entry))

    def _apply_one(
        self, planned: PlannedAction, outcome: Outcome, *, outside: bool = False
    ) -> None:
        action = self._journal.make(planned.kind, planned.params)
        with explained(action.summary()):
            self._do(action, planned, outcome, outside=outside)

    def _do(
        self, action: Action, planned: PlannedAction, outcome: Outcome, *, outside: bool
    ) -> None:
        id_, kind, params = planned.id, planned.kind, planned.params
        entry = self._receipt.history.get(id_)
        if entry is not None and entry.kind != kind:
            self._make_way(entry, outcome)
            entry = None
        present = action.inspect(self._host).state is State.PRESENT
        if entry is not None and not present:
            if entry.active:
                self._journal.of(entry).reach(self._host)  # an edit must be seen
            if (edit := self._journal.edit_of(entry)) is not None:
                if entry.active and entry.status is not Event.KEPT:
                    self._receipt.append(Event.KEPT, id=id_, data={"reason": edit})
                outcome.kept.append(edit)
                return
        if present and entry is not None and self._meant(action, planned, entry):
            return
        if present and (entry is None or entry.status is Event.PREEXISTING):
            noted = action.noted(self._host)
            self._receipt.append(Event.PREEXISTING, id=id_, kind=kind, params=params, data=noted)
            return
        self._listener.started(id_, action.summary())
        found = action.capture(self._host)
        before = entry.before if entry is not None and entry.active else found
        data: dict[str, JsonValue] = {"before": before, "found": found}
        if planned.transient:
            data["transient"] = True
        if outside:
            data["outside"] = True
        self._receipt.append(Event.BEGIN, id=id_, kind=kind, params=params, data=data)
        outcome.changed.append(id_)
        after = action.execute(self._host, before, self._listener.progress)
        self._receipt.append(Event.DONE, id=id_, data=after)
        if planned.transient:
            action.revert(self._host, found, after)
            action.resume(self._host, found)
            self._receipt.append(Event.REVERTED, id=id_)
        self._listener.finished(id_, "done")

    def _make_way(self, entry: Entry, outcome: Outcome) -> None:
        """Take back what stands under the id of an action of another kind.

        It stays in the receipt until the other is begun; a roll-back does it again.
        """
        if entry.active and (kept := self._journal.take_back(entry, "before").kept) is not None:
            outcome.kept.append(kept)

    def _stale(self, plan: Plan) -> list[Entry]:
        """Entries of a former plan that this one does not hold, in the order of their way back."""
        planned = {planned.id for planned in plan.actions}
        ours = (e for e in self._journal.history.entries if e.active and not e.outside)
        return self._journal.in_turn(e for e in ours if e.id not in planned)

    def _revert_transients(self, outcome: Outcome) -> None:
        """Take back what a killed run meant to take back at once."""
        for entry in reversed(self._receipt.history.entries):
            if entry.transient and entry.active:
                action = self._journal.of(entry)
                with explained(action.summary()):
                    self._journal.take_back(entry, "found")
                    try:
                        self._journal.resume(entry)
                    except LocalOpusError as problem:  # told; the new one may still work
                        outcome.kept.append(problem.message)
                    self._receipt.append(Event.REVERTED, id=entry.id)

    def _held(self, entry: Entry) -> str | None:
        return self._journal.of(entry).held(self._host, entry.before)

    def _drop(self, entry: Entry, outcome: Outcome) -> None:
        """Take back what a former plan left; the new one works, so a failure is only told."""
        if (held := self._held(entry)) is not None:
            outcome.kept.append(held)
            return
        try:
            revert_one(self._journal, entry, outcome, for_good=False)
        except (LocalOpusError, OSError) as problem:
            outcome.kept.append(f"{entry.id}: {words(problem)}")
            self._listener.finished(entry.id, "kept")
