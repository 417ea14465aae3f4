"""What the records of a receipt come to: where each action stands, and where it stood before.

Pure: it folds records, and reads no file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue

from local_opus.values import Value

SCHEMA_VERSION: Literal[2] = 2


class Event(StrEnum):
    """What a record says."""

    RUN = "run"
    BEGIN = "begin"
    DONE = "done"
    PREEXISTING = "preexisting"
    KEPT = "kept"
    FAILED = "failed"
    #: Gone again, as before the install.
    REVERTED = "reverted"
    #: As at the end of the last run that was finished (since schema 2).
    RESTORED = "restored"
    FINISHED = "finished"
    #: All was taken back, and the receipt itself is about to go (since schema 2).
    LEFT = "left"


class Record(Value):
    """One line. ``id`` names the action; a RUN or FINISHED record carries its facts in ``data``.

    ``data`` of a BEGIN is what was there before: since schema 2 ``before`` (the install) and
    ``found`` (by this run), in schema 1 the former alone.
    """

    v: Literal[1, 2] = SCHEMA_VERSION
    n: int
    at: str
    event: Event
    id: str = ""
    kind: str = ""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    data: dict[str, JsonValue] = Field(default_factory=dict)
    sum: str = ""

    def checksum(self, previous: str) -> str:
        """Return the sum that this record has after ``previous``."""
        body = json.dumps(
            self.model_dump(mode="json", exclude={"sum"}), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(previous.encode() + body.encode()).hexdigest()


class Entry(Value):
    """Where one action stands: the outcome of its records."""

    id: str
    kind: str
    params: dict[str, JsonValue]
    #: BEGIN: killed or failed on the way; DONE, PREEXISTING, KEPT (edited by the user).
    status: Event
    #: What was there before the install: the way back of an uninstall.
    before: dict[str, JsonValue]
    #: What was there when it was first begun since the last finished run: that of a failed run.
    found: dict[str, JsonValue]
    after: dict[str, JsonValue] | None
    #: Number of the record that first began it since the last finished run.
    began: int
    #: Undone by the run itself once it came to its end.
    transient: bool = False

    @property
    def active(self) -> bool:
        """Whether a revert has something to do."""
        return self.status in {Event.BEGIN, Event.DONE, Event.KEPT}


class History(Value):
    """The entries in the order in which they were begun, and the last run's facts."""

    entries: tuple[Entry, ...] = ()
    run: dict[str, JsonValue] = Field(default_factory=dict)
    finished: bool = False
    #: Number of the last FINISHED record; 0: no run ever came to its end.
    finished_at: int = 0
    #: What the FINISHED record says: the self-test's figures.
    result: dict[str, JsonValue] = Field(default_factory=dict)
    #: The facts of the last finished run, and its entries by their ids.
    last_run: dict[str, JsonValue] = Field(default_factory=dict)
    last_entries: dict[str, Entry] = Field(default_factory=dict)

    def get(self, entry_id: str) -> Entry | None:
        """Return the entry of an action; None where there is none, or it was reverted."""
        return next((entry for entry in self.entries if entry.id == entry_id), None)

    def unfinished(self) -> tuple[Entry, ...]:
        """Return what was begun since the last finished run: half of an install or upgrade."""
        return tuple(item for item in self.entries if item.active and item.began > self.finished_at)


class _Fold:
    """Takes one record after the other."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.last_entries: dict[str, Entry] = {}
        self.run: dict[str, JsonValue] = {}
        self.last_run: dict[str, JsonValue] = {}
        self.result: dict[str, JsonValue] = {}
        self.finished_at = 0
        self.finished = False

    def take(self, record: Record) -> None:
        match record.event:
            case Event.RUN:
                self.run, self.finished = record.data, False
            case Event.FINISHED:
                self.result, self.finished, self.finished_at = record.data, True, record.n
                self.last_run, self.last_entries = self.run, dict(self.entries)
            case Event.BEGIN:
                self._begin(record)
            case Event.PREEXISTING:
                self.entries[record.id] = _entry(record, Event.PREEXISTING, {}, {})
            case Event.DONE | Event.KEPT:
                known = self.entries.get(record.id)
                if known is not None:
                    after = record.data if record.event is Event.DONE else known.after
                    done = {"status": record.event, "after": after}
                    self.entries[record.id] = known.model_copy(update=done)
            case Event.REVERTED:
                self.entries.pop(record.id, None)
            case Event.RESTORED:
                self.entries.pop(record.id, None)
                if (last := self.last_entries.get(record.id)) is not None:
                    self.entries[record.id] = last
            case Event.FAILED | Event.LEFT:
                pass

    def _begin(self, record: Record) -> None:
        before, found = record.data, record.data
        if record.v > 1:
            before, found = _part(record, "before"), _part(record, "found")
        # A repeated begin moves to the end: what it needs was begun before it.
        old = self.entries.pop(record.id, None)
        new = _entry(record, Event.BEGIN, before, found)
        if old is not None and old.status is not Event.PREEXISTING:
            # It keeps the first `before`, and the first `found` of the runs that did not finish.
            again = old.began > self.finished_at
            update = {"before": old.before}
            new = new.model_copy(
                update={**update, "found": old.found, "began": old.began} if again else update
            )
        self.entries[record.id] = new


def _part(record: Record, name: str) -> dict[str, JsonValue]:
    part = record.data.get(name)
    return part if isinstance(part, dict) else {}


def _entry(
    record: Record, status: Event, before: dict[str, JsonValue], found: dict[str, JsonValue]
) -> Entry:
    return Entry(
        id=record.id,
        kind=record.kind,
        params=record.params,
        status=status,
        before=before,
        found=found,
        after=None,
        began=record.n,
        transient=bool(record.v > 1 and record.data.get("transient")),
    )


def replay(records: Iterable[Record]) -> History:
    """Fold records into where each action stands."""
    fold = _Fold()
    for record in records:
        fold.take(record)
    return History(
        entries=tuple(fold.entries.values()),
        run=fold.run,
        finished=fold.finished,
        finished_at=fold.finished_at,
        result=fold.result,
        last_run=fold.last_run,
        last_entries=fold.last_entries,
    )
