"""What the records of a receipt come to: where each action stands, and where it stood before.

Pure: it folds records, and reads no file.
"""

from __future__ import annotations

import hashlib
import json
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
    #: About to be taken back (since schema 2).
    REVERTING = "reverting"
    #: Gone again, as before the install.
    REVERTED = "reverted"
    #: As at the end of the last run that was finished (since schema 2).
    RESTORED = "restored"
    FINISHED = "finished"
    #: All was taken back, but for folders that hold weights (since schema 2).
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
    #: What was there when it was last begun; of schema 1: what it had left there before that.
    seen: dict[str, JsonValue] = Field(default_factory=dict)
    #: Number of the record that last began to take it back; 0: none.
    reverting: int = 0
    #: Undone by the run itself once it came to its end.
    transient: bool = False
    #: Of no plan: another plan does not take it back, nor does a run that failed.
    outside: bool = False

    @property
    def active(self) -> bool:
        """Whether a revert has something to do."""
        return self.status in {Event.BEGIN, Event.DONE, Event.KEPT}


class History(Value):
    """The entries in the order in which they were begun, and the last run's facts.

    It is at rest when a run was finished, or when all was taken back.
    """

    entries: tuple[Entry, ...] = ()
    run: dict[str, JsonValue] = Field(default_factory=dict)
    #: The record with which it last came to rest, and its number; None, 0: it never did.
    rested: Event | None = None
    rested_at: int = 0
    #: Whether nothing was run since.
    resting: bool = False
    #: What the FINISHED record says: the self-test's figures.
    result: dict[str, JsonValue] = Field(default_factory=dict)
    #: At its last rest: the facts of the run that was finished, and the entries by their ids.
    last_run: dict[str, JsonValue] = Field(default_factory=dict)
    last_entries: dict[str, Entry] = Field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the last run came to its end."""
        return self.resting and self.rested is Event.FINISHED

    @property
    def left(self) -> bool:
        """Whether all was taken back, but for folders that hold weights."""
        return self.resting and self.rested is Event.LEFT

    def get(self, entry_id: str) -> Entry | None:
        """Return the entry of an action; None where there is none, or it was reverted."""
        return next((entry for entry in self.entries if entry.id == entry_id), None)

    def unfinished(self) -> tuple[Entry, ...]:
        """Return what was begun since the last rest: half of an install or upgrade."""
        ours = (item for item in self.entries if item.active and not item.outside)
        return tuple(item for item in ours if item.began > self.rested_at)

    def earlier(self, entry: Entry) -> list[dict[str, JsonValue]]:
        """Return what may stand in the place of what an entry left, or was to leave, unedited.

        A kill in its action leaves what this found, and one in a revert what that put back. That a
        roll-back began could not be recorded where the disk was full: until the next rest what the
        first run found counts too.
        """
        known = [entry.seen] if entry.status is Event.BEGIN else []
        if entry.began > self.rested_at:
            known.append(entry.found)
        if entry.reverting > self.rested_at:
            known += [entry.before, entry.found]
        return known


class Fold:
    """Takes one record after the other."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.last_entries: dict[str, Entry] = {}
        self.run: dict[str, JsonValue] = {}
        self.last_run: dict[str, JsonValue] = {}
        self.result: dict[str, JsonValue] = {}
        self.rested: Event | None = None
        self.rested_at = 0
        self.resting = False
        self.taken = 0

    def history(self) -> History:
        """Return what they come to so far."""
        return History(
            entries=tuple(self.entries.values()),
            run=self.run,
            rested=self.rested,
            rested_at=self.rested_at,
            resting=self.resting,
            result=self.result,
            last_run=self.last_run,
            last_entries=self.last_entries,
        )

    def take(self, record: Record) -> None:
        """Take the next record."""
        self.taken += 1
        match record.event:
            case Event.RUN:
                self.run, self.resting = record.data, False
            case Event.FINISHED | Event.LEFT:
                self._rest(record)
            case Event.BEGIN:
                self._begin(record)
            case Event.PREEXISTING:
                self.entries[record.id] = _entry(record, Event.PREEXISTING, {}, {})
            case Event.DONE:
                self._update(record.id, status=Event.DONE, after=record.data)
            case Event.KEPT:
                self._update(record.id, status=Event.KEPT)
            case Event.REVERTING:
                self._update(record.id, reverting=record.n)
            case Event.REVERTED:
                self.entries.pop(record.id, None)
                self.last_entries.pop(record.id, None)
            case Event.RESTORED:
                self.entries.pop(record.id, None)
                if (last := self.last_entries.get(record.id)) is not None:
                    self.entries[record.id] = last
            case Event.FAILED:
                pass

    def _rest(self, record: Record) -> None:
        self.rested, self.rested_at, self.resting = record.event, record.n, True
        self.result = record.data
        if record.event is Event.LEFT:
            self.run = {}
        self.last_run, self.last_entries = self.run, dict(self.entries)

    def _update(self, entry_id: str, **fields: object) -> None:
        if (known := self.entries.get(entry_id)) is not None:
            self.entries[entry_id] = known.model_copy(update=fields)

    def _begin(self, record: Record) -> None:
        before, found = record.data, record.data
        if record.v > 1:
            before, found = _part(record, "before"), _part(record, "found")
        # A repeated begin moves to the end: what it needs was begun before it.
        old = self.entries.pop(record.id, None)
        new = _entry(record, Event.BEGIN, before, found)
        same = old is not None and old.kind == record.kind  # what another kind found says nothing
        if old is not None and same and old.status is not Event.PREEXISTING:
            # It keeps the first `before`, and the first `found` of the runs that did not finish.
            update: dict[str, object] = {"before": old.before}
            if record.v == 1 and old.after is not None:
                update["seen"] = old.after
            if old.began > self.rested_at:
                update |= {"found": old.found, "began": old.began}
            new = new.model_copy(update=update)
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
        seen=found,
        transient=bool(record.v > 1 and record.data.get("transient")),
        outside=bool(record.v > 1 and record.data.get("outside")),
    )
