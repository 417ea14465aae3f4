"""The receipt on disk: an append-only journal of what was done, each record chained by checksum.

One JSON object a line. ``sum`` is the SHA-256 of the previous record's ``sum`` and of the record
itself (canonical JSON without ``sum``), so an edited, reordered or missing line is recognised. A
last line that is torn (a kill in the middle of a write) counts as never written. Beside it the file
``receipt.head`` holds number and sum of the last record, so that lines missing at the end are
recognised too. It is written after the record: it may be one behind, and never ahead.
"""

from __future__ import annotations

import errno
import json
import os
import re

from pydantic import JsonValue, ValidationError

from local_opus.errors import LocalOpusError
from local_opus.history import SCHEMA_VERSION, Event, History, Record, replay
from local_opus.host import Host

__all__ = ["Event", "History", "Receipt", "Record", "parse"]

_FIRST_SUM = "0" * 64
#: The head has one length, so that it is overwritten in one write within a disk's sector.
_HEAD = re.compile(rb"( *[0-9]+) ([0-9a-f]{64})\n")
_REMEDY = "Restore the receipt from a backup; until then nothing is changed."


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
                f"{name}:{number}: wrong checksum: edited, or lines are missing", _REMEDY
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
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError) as error:
        raise LocalOpusError(f"{where}: not a record of a receipt", _REMEDY) from error


class Receipt:
    """The receipt on disk. Each record is on stable storage before ``append`` returns."""

    def __init__(self, host: Host, path: str) -> None:
        """Read it where it is there. Raises LocalOpusError when it is damaged."""
        self._host = host
        self.path = path
        self.head = f"{path.removesuffix('.jsonl')}.head"
        self.records: list[Record] = []
        self._length = 0
        #: Number of the record that the head names; None: there is no head yet.
        self._headed: int | None = None
        if host.files.stat(path) is not None:
            self.records, self._length = parse(host.files.read_bytes(path), path)
        self._check_head()

    @property
    def history(self) -> History:
        """Where every action stands now."""
        return replay(self.records)

    def _check_head(self) -> None:
        """Raise LocalOpusError when records are missing at the end."""
        chained = sum(record.v > 1 for record in self.records)
        data = b""
        if self._host.files.stat(self.head) is not None:
            data = self._host.files.read_bytes(self.head, 256)
        leaving = bool(self.records) and self.records[-1].event is Event.LEFT
        if not data and (leaving or not chained):  # of schema 1, or before the first record
            return
        found = _HEAD.fullmatch(data)
        if found is None:
            what = "not the head of a receipt" if data else "missing or empty"
            raise LocalOpusError(f"{self.head}: {what}", _REMEDY)
        number, sum_ = int(found[1]), found[2].decode()
        if number > len(self.records):
            raise LocalOpusError(
                f"{self.path}: {number - len(self.records)} of {number} records are missing "
                "at the end",
                _REMEDY,
            )
        known = self.records[number - 1].sum if number else _FIRST_SUM
        if known != sum_ or number < len(self.records) - 1:
            raise LocalOpusError(f"{self.head}: of another receipt", _REMEDY)
        self._headed = number

    def append(
        self,
        event: Event,
        *,
        id: str = "",  # noqa: A002 - the record's own word
        kind: str = "",
        params: dict[str, JsonValue] | None = None,
        data: dict[str, JsonValue] | None = None,
    ) -> None:
        """Write one record and fsync it; for the first, its folder too; then the head.

        Raises OSError, and then the record may be there or not; the head is never two behind.
        """
        if self._headed != len(self.records):
            self._write_head()
        previous = self._last_sum()
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
            if os.fstat(stream.fileno()).st_size > self._length:
                os.ftruncate(stream.fileno(), self._length)  # a torn line
            if stream.write(line) != len(line):  # unbuffered: a full disk takes a part
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
            os.fsync(stream.fileno())
        if not self.records:
            self._host.files.sync(self.path.rpartition("/")[0])
        self.records.append(record)
        self._length += len(line)
        self._write_head()

    def _last_sum(self) -> str:
        return self.records[-1].sum if self.records else _FIRST_SUM

    def _write_head(self) -> None:
        with self._host.files.open_in_place(self.head) as stream:
            stream.write(b"%12d %s\n" % (len(self.records), self._last_sum().encode()))
            stream.flush()
            os.fsync(stream.fileno())
        if self._headed is None:
            self._host.files.sync(self.head.rpartition("/")[0])
        self._headed = len(self.records)
