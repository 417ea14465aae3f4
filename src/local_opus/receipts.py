"""The receipt: an append-only journal of an applied plan, each record chained by checksum.

One JSON object a line. ``sum`` is the SHA-256 of the previous record's ``sum`` and of the record
itself (canonical JSON without ``sum``), so an edited, reordered or missing line is recognised. A
last line that is torn (a kill in the middle of a write) counts as never written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Value

SCHEMA_VERSION: Literal[1] = 1
_FIRST_SUM = "0" * 64


class Event(StrEnum):
    """What a record says."""

    RUN = "run"
    BEGIN = "begin"
    DONE = "done"
    PREEXISTING = "preexisting"
    KEPT = "kept"
    FAILED = "failed"
    REVERTED = "reverted"
    FINISHED = "finished"


class Record(Value):
    """One line. ``id`` names the action; a RUN or FINISHED record carries its facts in ``data``."""

    v: Literal[1] = SCHEMA_VERSION
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
    #: BEGIN: killed or failed on the way; DONE, PREEXISTING, KEPT (edited by the user), REVERTED.
    status: Event
    before: dict[str, JsonValue]
    after: dict[str, JsonValue] | None
    #: Number of the record that first began it.
    began: int

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

    def get(self, entry_id: str) -> Entry | None:
        """Return the entry of an action; None where there is none, or it was reverted."""
        for entry in self.entries:
            if entry.id == entry_id and entry.status is not Event.REVERTED:
                return entry
        return None

    def unfinished(self) -> tuple[Entry, ...]:
        """Return the active entries that no finished run knows: half of an install."""
        return tuple(item for item in self.entries if item.active and item.began > self.finished_at)


def replay(records: Iterable[Record]) -> History:
    """Fold records into where each action stands."""
    entries: dict[str, Entry] = {}
    run: dict[str, JsonValue] = {}
    result: dict[str, JsonValue] = {}
    finished, finished_at = False, 0
    for record in records:
        match record.event:
            case Event.RUN:
                run, finished = record.data, False
            case Event.FINISHED:
                result, finished, finished_at = record.data, True, record.n
            case Event.BEGIN:
                # A repeated begin moves to the end: what it needs was begun before it.
                old = entries.pop(record.id, None)
                if old is None or old.status is Event.PREEXISTING:
                    old = _entry(record, Event.BEGIN, record.data)
                # A repeated begin keeps the first `before`: that is what was there before us.
                update = {"kind": record.kind, "params": record.params, "after": None}
                entries[record.id] = old.model_copy(update={"status": Event.BEGIN, **update})
            case Event.PREEXISTING:
                entries[record.id] = _entry(record, Event.PREEXISTING, {})
            case Event.DONE | Event.KEPT:
                known = entries.get(record.id)
                if known is not None:
                    after = record.data if record.event is Event.DONE else known.after
                    done = {"status": record.event, "after": after}
                    entries[record.id] = known.model_copy(update=done)
            case Event.REVERTED:
                entries.pop(record.id, None)
            case Event.FAILED:
                pass
    return History(
        entries=tuple(entries.values()),
        run=run,
        finished=finished,
        finished_at=finished_at,
        result=result,
    )


def _entry(record: Record, status: Event, before: dict[str, JsonValue]) -> Entry:
    return Entry(
        id=record.id,
        kind=record.kind,
        params=record.params,
        status=status,
        before=before,
        after=None,
        began=record.n,
    )


def parse(data: bytes, name: str) -> tuple[list[Record], int]:
    """Return the records and the length of the good part; a torn last line is left out.

    Raises LocalOpusError that names ``name`` and the line when a record is damaged or of a newer
    schema.
    """
    records: list[Record] = []
    good = 0
    previous = _FIRST_SUM
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        record = _parse_line(line, f"{name}:{number}")
        if record.sum != record.checksum(previous) or record.n != number:
            raise LocalOpusError(
                f"{name}:{number}: wrong checksum: edited, or lines are missing",
                "Restore the receipt from a backup; until then nothing is changed.",
            )
        previous = record.sum
        records.append(record)
        good += len(line)
    return records, good


def _parse_line(line: bytes, where: str) -> Record:
    try:
        raw = json.loads(line)
        version = raw["v"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise LocalOpusError(
                f"{where}: written by a newer version (schema {version}, known: {SCHEMA_VERSION})",
                "Use the installed `local-opus`, or a newer checkout.",
            )
        return Record.model_validate(raw)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise LocalOpusError(
            f"{where}: not a record of a receipt",
            "Restore the receipt from a backup; until then nothing is changed.",
        ) from error


class Receipt:
    """The receipt on disk. Each record is on stable storage before ``append`` returns."""

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self.path = path
        self.records: list[Record] = []
        self._load()

    @property
    def history(self) -> History:
        """Where every action stands now."""
        return replay(self.records)

    def _load(self) -> None:
        if self._host.files.stat(self.path) is not None:
            self.records, _ = parse(self._host.files.read_bytes(self.path), self.path)

    def append(
        self,
        event: Event,
        *,
        id: str = "",  # noqa: A002 - the record's own word
        kind: str = "",
        params: dict[str, JsonValue] | None = None,
        data: dict[str, JsonValue] | None = None,
    ) -> None:
        """Write one record, fsync it and, for the first, its folder."""
        previous = self.records[-1].sum if self.records else _FIRST_SUM
        record = Record(
            n=len(self.records) + 1,
            at=self._host.now(),
            event=event,
            id=id,
            kind=kind,
            params=params or {},
            data=data or {},
        )
        record = record.model_copy(update={"sum": record.checksum(previous)})
        line = json.dumps(record.model_dump(mode="json"), separators=(",", ":")).encode() + b"\n"
        with self._host.files.open_append(self.path) as stream:
            self._cut_torn_line(stream.fileno())
            if stream.write(line) != len(line):  # unbuffered: a full disk takes a part
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
            os.fsync(stream.fileno())
        if not self.records:
            self._host.files.sync(self.path.rpartition("/")[0])
        self.records.append(record)

    def _cut_torn_line(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        data = self._host.files.read_bytes(self.path)
        good = data.rfind(b"\n") + 1
        if good < size:
            os.ftruncate(descriptor, good)
            os.fsync(descriptor)

    def remove(self) -> None:
        """Remove the receipt: there is nothing left to take back."""
        self._host.files.remove(self.path)
        self.records = []
