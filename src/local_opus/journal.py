"""The entries of a receipt on their machine: made to actions, looked at for edits, taken back.

Knows the interfaces of actions and receipts, and no action in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import JsonValue

from local_opus import making
from local_opus.actions.base import EARLIER, Action, Progress, Record, Reverted
from local_opus.errors import LocalOpusError
from local_opus.history import Entry, Event, History
from local_opus.host import Host
from local_opus.making import Build
from local_opus.receipts import Receipt
from local_opus.values import Scope


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


@dataclass
class Journal:
    """A receipt, the host that it speaks of, and the ``roots``: the only folders it may touch.

    ``scope`` is that of the install; an action of another one is refused.
    """

    host: Host
    receipt: Receipt
    build: Build
    roots: tuple[str, ...]
    listener: Listener = field(default_factory=Listener)
    scope: Scope | None = None

    @property
    def history(self) -> History:
        """Where each action stands now."""
        return self.receipt.history

    def make(self, kind: str, params: dict[str, JsonValue]) -> Action:
        """Make an action. Raises LocalOpusError for one that would leave the roots or the scope."""
        return making.make(self.build, kind, params, self.roots, self.scope)

    def of(self, entry: Entry) -> Action:
        """Make the action of an entry."""
        return self.make(entry.kind, entry.params)

    def edit_of(self, entry: Entry) -> str | None:
        """Say what the user edited since; None when nothing."""
        action, earlier = self.of(entry), self.history.earlier(entry)
        if entry.after is None:
            return action.edited_meanwhile(self.host, *earlier)
        return action.edited(self.host, _with_earlier(entry.after, earlier))

    def in_turn(self, entries: Iterable[Entry]) -> list[Entry]:
        """Put entries in the order in which they are reverted."""
        newest_first = [*entries][::-1]
        return sorted(newest_first, key=lambda entry: self.of(entry).turn())

    def reach(self) -> None:
        """Open what the user closed to himself: nothing in a closed folder can be taken back."""
        actions = []
        for entry in self.history.entries:
            if entry.active:
                with suppress(LocalOpusError):  # its own way back tells, here and below
                    actions.append(self.of(entry))
        for action in sorted(actions, key=_depth):  # the outermost first
            with suppress(OSError):  # one that stays closed: the same
                action.reach(self.host)

    def take_back(self, entry: Entry, to: Literal["before", "found"]) -> Reverted:
        """Revert an entry, unless the user edited what a kill had left."""
        action = self.of(entry)
        action.reach(self.host)
        former = entry.before if to == "before" else entry.found
        # A revert that was killed, or could not be recorded on a full disk, has put it back.
        earlier = [*self.history.earlier(entry), former]
        after = None if entry.after is None else _with_earlier(entry.after, earlier)
        if after is None and (edit := action.edited_meanwhile(self.host, *earlier)) is not None:
            return Reverted(kept=edit)
        self.record(Event.REVERTING, id=entry.id)
        return action.revert(self.host, former, after)

    def resume(self, entry: Entry) -> None:
        """Start again what ran when an entry was begun; an image's words start nothing here.

        What had to make way for another kind under the same id is done again.
        """
        if self.host.is_image:
            return
        former = self.history.last_entries.get(entry.id)
        if former is not None and former.active and former.kind != entry.kind:
            self.of(former).execute(self.host, former.before, self.listener.progress)
        else:
            self.of(entry).resume(self.host, entry.found)

    def record(self, event: Event, **fields: Any) -> None:  # noqa: ANN401 - those of Receipt.append
        """Write a record of a way back; a disk that is full must not keep it from going on.

        What is not recorded as taken back is inspected, and done again, by the next run.
        """
        with suppress(OSError):
            self.receipt.append(event, **fields)


def _with_earlier(after: Record, earlier: list[Record]) -> Record:
    """Return what was left with what else may stand in its place, as actions want it."""
    return {**after, EARLIER: [*earlier]}


def _depth(action: Action) -> int:
    return min((path.count("/") for path in action.paths()), default=0)
