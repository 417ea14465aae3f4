"""Run a plan: journal before and after each action, roll back, resume, revert.

Knows the interfaces of actions and receipts, and no action in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from local_opus.actions.base import EARLIER, Action, Progress, Record, Reverted, State
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.history import Entry, Event
from local_opus.host import Host
from local_opus.receipts import Receipt
from local_opus.refusals import explained, words
from local_opus.values import Plan, PlannedAction

#: Makes an action from its kind and its parameters; raises LocalOpusError for an unknown kind.
Build = Callable[[str, dict[str, JsonValue]], Action]
#: Proves the result; returns its figures for the receipt, raises LocalOpusError where it fails.
SelfTest = Callable[[], dict[str, JsonValue]]

_GO_ON = "Run the same command again to go on, or `uninstall` to take it back."


@dataclass
class Listener:
    """Who is told of each step. The default tells nobody."""

    started: Callable[[str, str], None] = lambda _id, _summary: None
    progress: Progress = lambda _step, _done, _total: None
    finished: Callable[[str, str], None] = lambda _id, _outcome: None


@dataclass
class Outcome:
    """What a run came to."""

    changed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    result: dict[str, JsonValue] = field(default_factory=dict)


class Applier:
    """Applies plans to one host with one receipt. ``roots`` are the only folders it may touch."""

    def __init__(
        self,
        host: Host,
        receipt: Receipt,
        build: Build,
        roots: tuple[str, ...],
        listener: Listener | None = None,
    ) -> None:
        self._host = host
        self._receipt = receipt
        self._build = build
        self._roots = roots
        self._listener = listener or Listener()

    # -- install --------------------------------------------------------------------------------

    def pending(self, plan: Plan) -> list[str]:
        """Return the ids of the actions that a run would execute or revert now."""
        history = self._receipt.history
        ids = [
            planned.id
            for planned in plan.actions
            if not planned.transient and not self._settled(planned, history.get(planned.id))
        ]
        ids += [entry.id for entry in self._stale(plan)]
        # A trial is there for the others' sake.
        trials = [planned.id for planned in plan.actions if planned.transient]
        return [*trials, *ids] if ids else []

    def edits(self) -> list[str]:
        """Return what the user edited since it was done, one line each."""
        found = []
        for entry in self._receipt.history.entries:
            with suppress(PermissionError):  # as in `_settled`
                found.append(self._edit_of(entry))
        return [edit for edit in found if edit is not None]

    def apply(self, plan: Plan, facts: dict[str, JsonValue], self_test: SelfTest) -> Outcome:
        """Take the machine to the plan; ``facts`` go into the receipt's RUN record.

        A failure takes the machine back to where the last finished run left it, and is raised
        again. An interruption (Ctrl-C) leaves what was done, to be resumed, and is raised as
        InterruptedRunError.
        """
        try:
            return self._apply(plan, facts, self_test)
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                "interrupted; what was done so far is in the receipt", _GO_ON
            ) from error

    def _apply(self, plan: Plan, facts: dict[str, JsonValue], self_test: SelfTest) -> Outcome:
        outcome = Outcome()
        self._receipt.append(Event.RUN, data=facts)
        try:
            with explained(self._receipt.path):
                self._revert_transients(outcome)
                for planned in plan.actions:
                    self._apply_one(planned, outcome)
                outcome.result = self_test()
                # From here on the new one counts: what comes after is not taken back.
                self._receipt.append(Event.FINISHED, data=outcome.result)
        except Exception as error:
            try:
                self._roll_back(outcome, error)
            except KeyboardInterrupt:
                raise InterruptedRunError(
                    f"interrupted while this was taken back: {_reason(error)}", _GO_ON
                ) from error
            raise
        # What the former plan alone held goes last: until here it was the way back.
        for entry in self._stale(plan):
            self._drop(entry, outcome)
        return outcome

    def ensure(self, planned: PlannedAction) -> None:
        """Do one action outside of a plan, journalled like the others."""
        self._apply_one(planned, Outcome())

    def _settled(self, planned: PlannedAction, entry: Entry | None) -> bool:
        """Whether nothing is to be done: it is there as planned, or the user edited it."""
        if entry is None:
            return False
        action = self._make(planned.kind, planned.params)
        try:
            if self._edit_of(entry) is not None:
                return True
            return (
                self._meant(action, planned, entry)
                and action.inspect(self._host).state is State.PRESENT
            )
        except PermissionError:  # its folder is closed, and is opened before it is looked at again
            return False

    def _meant(self, action: Action, planned: PlannedAction, entry: Entry) -> bool:
        """Whether what an entry left, if it is still there, is all that is planned."""
        if entry.status is Event.BEGIN:
            return False
        if entry.params == planned.params:
            return True
        return entry.kind == planned.kind and action.covers(self._make(entry.kind, entry.params))

    def _edit_of(self, entry: Entry) -> str | None:
        if not entry.active:
            return None
        action = self._make(entry.kind, entry.params)
        if (after := _after(entry)) is None:
            return action.edited_meanwhile(self._host, entry.before, entry.found)
        return action.edited(self._host, after)

    def _apply_one(self, planned: PlannedAction, outcome: Outcome) -> None:
        action = self._make(planned.kind, planned.params)
        with explained(action.summary()):
            self._do(action, planned, outcome)

    def _do(self, action: Action, planned: PlannedAction, outcome: Outcome) -> None:
        id_, kind, params = planned.id, planned.kind, planned.params
        entry = self._receipt.history.get(id_)
        present = action.inspect(self._host).state is State.PRESENT
        if entry is not None and entry.active:
            self._make(entry.kind, entry.params).reach(self._host)  # an edit must be seen
            if (edit := self._edit_of(entry)) is not None:
                if entry.status is not Event.KEPT:
                    self._receipt.append(Event.KEPT, id=id_, data={"reason": edit})
                outcome.kept.append(edit)
                return
        if present and entry is not None and self._meant(action, planned, entry):
            return
        if present and (entry is None or entry.status is Event.PREEXISTING):
            self._receipt.append(Event.PREEXISTING, id=id_, kind=kind, params=params)
            return
        self._listener.started(id_, action.summary())
        found = action.capture(self._host)
        before = entry.before if entry is not None and entry.active else found
        data: dict[str, JsonValue] = {"before": before, "found": found}
        if planned.transient:
            data["transient"] = True
        self._receipt.append(Event.BEGIN, id=id_, kind=kind, params=params, data=data)
        outcome.changed.append(id_)
        after = action.execute(self._host, before, self._listener.progress)
        self._receipt.append(Event.DONE, id=id_, data=after)
        if planned.transient:
            action.revert(self._host, found, after)
            action.resume(self._host, found)
            self._receipt.append(Event.REVERTED, id=id_)
        self._listener.finished(id_, "done")

    def _stale(self, plan: Plan) -> list[Entry]:
        """Entries of a former plan that this one does not hold, the newest first."""
        wanted = {planned.id for planned in plan.actions}
        entries = self._receipt.history.entries
        return [entry for entry in reversed(entries) if entry.active and entry.id not in wanted]

    def _revert_transients(self, outcome: Outcome) -> None:
        """Take back what a killed run meant to take back at once."""
        for entry in reversed(self._receipt.history.entries):
            if entry.transient and entry.active:
                action = self._make(entry.kind, entry.params)
                with explained(action.summary()):
                    action.revert(self._host, entry.found, _after(entry))
                    try:
                        action.resume(self._host, entry.found)
                    except LocalOpusError as problem:  # told; the new one may still work
                        outcome.kept.append(problem.message)
                    self._receipt.append(Event.REVERTED, id=entry.id)

    def _drop(self, entry: Entry, outcome: Outcome) -> None:
        """Take back what a former plan left; the new one works, so a failure is only told."""
        try:
            self._revert_one(entry, outcome)
        except (LocalOpusError, OSError) as problem:
            outcome.kept.append(f"{entry.id}: {words(problem)}")
            self._listener.finished(entry.id, "kept")

    def _roll_back(self, outcome: Outcome, error: Exception) -> None:
        """Put everything back as the last finished run left it, the newest first.

        What interrupted runs since then did goes too. A step that can't be put back does not stop
        the others; it stays in the receipt, so that the next run or an uninstall deals with it, and
        is named with the failure.
        """
        self._record(Event.FAILED, data={"reason": _reason(error)})
        history = self._receipt.history
        undone = history.unfinished()
        self._reach(history.entries)
        problems = []
        for entry in reversed(undone):
            action = self._make(entry.kind, entry.params)
            self._listener.started(entry.id, f"take back: {action.summary()}")
            try:
                reverted = self._take_back(action, entry, entry.found)
            except (LocalOpusError, OSError) as problem:
                problems.append(f"{action.summary()}: {words(problem)}")
                self._listener.finished(entry.id, "kept")
                continue
            if reverted.kept is None:
                back = entry.id in history.last_entries
                self._record(Event.RESTORED if back else Event.REVERTED, id=entry.id)
            elif not reverted.later:
                problems.append(reverted.kept)
            self._listener.finished(entry.id, "kept" if reverted.kept else "taken back")
        for entry in undone:  # in order, and only now: what was there before is whole again
            action = self._make(entry.kind, entry.params)
            try:
                action.resume(self._host, entry.found)
            except (LocalOpusError, OSError) as problem:
                problems.append(f"{action.summary()}: {words(problem)}")
        outcome.kept += problems
        if not problems and history.finished_at:
            self._record(Event.RUN, data=history.last_run)
            self._record(Event.FINISHED, data=history.result)
        if isinstance(error, LocalOpusError):
            error.details = (*error.details, *(f"not taken back: {line}" for line in problems))

    def _record(self, event: Event, **fields: Any) -> None:  # noqa: ANN401 - those of Receipt.append
        """Write a record of a roll-back; a disk that is full must not keep it from going on.

        What is not recorded as taken back is inspected, and done again, by the next run.
        """
        with suppress(OSError):
            self._receipt.append(event, **fields)

    # -- the way back ---------------------------------------------------------------------------

    def revert_all(self, wanted: Callable[[Entry], bool] = lambda _entry: True) -> Outcome:
        """Revert every active entry that is ``wanted``, the newest first; each is asked once.

        The order is that of ``Action.turn``. What can't be reverted does not stop the rest;
        it is raised at the end.
        """
        outcome = Outcome()
        problems: list[LocalOpusError] = []
        self._reach(self._receipt.history.entries)
        active = [entry for entry in reversed(self._receipt.history.entries) if entry.active]
        active.sort(key=lambda entry: self._make(entry.kind, entry.params).turn())
        for entry in active:
            if not wanted(entry):
                continue
            try:
                self._revert_one(entry, outcome, failed=bool(problems))
            except KeyboardInterrupt as error:
                raise InterruptedRunError(
                    "interrupted; what was taken back so far is in the receipt",
                    "Run `uninstall` again to go on.",
                ) from error
            except LocalOpusError as error:
                problems.append(error)
            except OSError as error:
                problems.append(LocalOpusError(f"{entry.id}: {words(error)}",
                                               "Fix that and run `uninstall` again."))  # fmt: skip
        if problems:
            raise LocalOpusError(
                f"{problems[0].message}"
                + (f" (and {len(problems) - 1} more)" * (len(problems) > 1)),
                problems[0].remedy,
                details=[problem.message for problem in problems[1:]],
            )
        return outcome

    def _revert_one(self, entry: Entry, outcome: Outcome, *, failed: bool = False) -> None:
        """Revert an entry; where another ``failed``, what it left may be in the way for now."""
        action = self._make(entry.kind, entry.params)
        self._listener.started(entry.id, f"take back: {action.summary()}")
        reverted = self._take_back(action, entry, entry.before)
        if reverted.later and failed:
            self._listener.finished(entry.id, "kept")
            return
        reason: dict[str, JsonValue] = {"kept": reverted.kept} if reverted.kept else {}
        self._receipt.append(Event.REVERTED, id=entry.id, data=reason)
        if reverted.kept:
            outcome.kept.append(reverted.kept)
        else:
            outcome.changed.append(entry.id)
        self._listener.finished(entry.id, "kept" if reverted.kept else "taken back")

    def _take_back(self, action: Action, entry: Entry, before: dict[str, JsonValue]) -> Reverted:
        """Revert to what was there ``before``, unless the user edited what a kill had left."""
        action.reach(self._host)
        if entry.after is None and (edit := self._edit_of(entry)) is not None:
            return Reverted(kept=edit)
        return action.revert(self._host, before, _after(entry))

    def _reach(self, entries: Sequence[Entry]) -> None:
        """Open what the user closed to himself: nothing in a closed folder can be taken back."""
        actions = []
        for entry in entries:
            if entry.active:
                with suppress(LocalOpusError):  # its own way back tells, here and below
                    actions.append(self._make(entry.kind, entry.params))
        for action in sorted(actions, key=_depth):  # the outermost first
            with suppress(OSError):
                action.reach(self._host)

    def _make(self, kind: str, params: dict[str, JsonValue]) -> Action:
        action = self._build(kind, params)
        for path in action.paths():
            parts = path.split("/")
            if ".." in parts or not any(
                path == root or path.startswith(f"{root}/") for root in self._roots
            ):
                raise LocalOpusError(
                    f"{path}: outside of the folders of an install",
                    "Nothing was touched; restore the receipt from a backup.",
                )
        return action


def _depth(action: Action) -> int:
    return min((path.count("/") for path in action.paths()), default=0)


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error))


def _after(entry: Entry) -> Record | None:
    """Return what an entry left, with what stood there earlier, as actions want it."""
    return None if entry.after is None else {**entry.after, EARLIER: [entry.before, entry.found]}
