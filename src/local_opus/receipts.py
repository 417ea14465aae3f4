"""The receipt on disk: an append-only journal of what was done, each record chained by checksum.

One JSON object a line. ``sum`` is the SHA-256 of the previous record's ``sum`` and of the record
itself (canonical JSON without ``sum``), so an edited, reordered or missing line is recognised. A
last line that is torn (a kill in the middle of a write) counts as never written. Beside it the file
``receipt.head`` holds number and sum of the last record, so that lines missing at the end are
recognised too. It is written after the record: it may be one behind, and never ahead.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress

from pydantic import JsonValue, ValidationError

from local_opus.errors import LocalOpusError
from local_opus.history import SCHEMA_VERSION, Event, History, Record, replay
from local_opus.host import Host

FIRST_SUM = "0" * 64
#: The head has one length, so that it is overwritten in one write within a disk's sector.
_HEAD = re.compile(rb"( *[0-9]+) ([0-9a-f]{64})\n")
#: In the name of a damaged receipt that was set aside, before its number.
_ASIDE = ".damaged-"
_REMEDY = "Restore it from a backup, or see `receipt --help` for --salvage; nothing was changed."


class NewerReceiptError(LocalOpusError):
    """A newer version wrote it; nothing is damaged."""


def parse(data: bytes, name: str) -> tuple[list[Record], int]:
    """Return the records and the length of the good part; a torn last line is left out.

    Raises LocalOpusError that names ``name`` and the line when a record is damaged or of a newer
    schema.
    """
    records: list[Record] = []
    good = 0
    for record, length in _read(data, name):
        records.append(record)
        good += length
    return records, good


def _read(data: bytes, name: str) -> Iterator[tuple[Record, int]]:
    """Yield each record and the length of its line; raise as ``parse`` does."""
    previous = FIRST_SUM
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return
        record = _parse_line(line, f"{name}:{number}")
        if record.sum != record.checksum(previous) or record.n != number:
            raise LocalOpusError(
                f"{name}:{number}: wrong checksum: edited, or lines are missing", _REMEDY
            )
        previous = record.sum
        yield record, len(line)


def salvage(host: Host, path: str) -> tuple[int, str]:
    """Keep the records before the first damaged one, and the whole file under another name.

    Return how many are kept, and that name. What the lost ones speak of counts from then on as not
    made by this program: it stays where it is. The caller holds the lock. Raises NewerReceiptError.
    """
    data = host.files.read_bytes(path) if host.files.stat(path) is not None else b""
    good, count, last = 0, 0, FIRST_SUM
    try:
        for record, length in _read(data, path):
            good, count, last = good + length, count + 1, record.sum
    except NewerReceiptError:
        raise
    except LocalOpusError:  # the one that is damaged: the rest hangs on it
        pass
    names = (f"{path}{_ASIDE}{number}" for number in itertools.count(1))
    aside = next(name for name in names if host.files.stat(name) is None)
    host.files.write_atomic(aside, data, mode=0o600)
    # The head goes first: without it a kill here leaves a receipt that is salvaged once more.
    head = _head_of(path)
    host.files.discard(head)
    host.files.write_atomic(path, data[:good], mode=0o600)
    host.files.write_atomic(head, _head_line(count, last), mode=0o600)
    return count, aside


def set_aside(host: Host, path: str) -> list[str]:
    """Return the damaged receipts that ``salvage`` left beside ``path``."""
    folder, _, name = path.rpartition("/")
    beside = host.files.list(folder) if host.files.stat(folder, follow=True) is not None else []
    return [f"{folder}/{one}" for one in beside if one.startswith(name + _ASIDE)]


def _head_of(path: str) -> str:
    return f"{path.removesuffix('.jsonl')}.head"


def _head_line(number: int, sum_: str) -> bytes:
    return b"%12d %s\n" % (number, sum_.encode())


def _parse_line(line: bytes, where: str) -> Record:
    try:
        raw = json.loads(line)
        version = raw["v"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerReceiptError(
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
        self.head = _head_of(path)
        self.records: list[Record] = []
        self._length = 0
        #: Number of the record that the head names; None: there is no head yet.
        self._headed: int | None = None
        if host.files.stat(path) is not None:
            self.records, self._length = parse(self._read(path), path)
        self._check_head()

    @property
    def history(self) -> History:
        """Where every action stands now."""
        return replay(self.records)

    def _read(self, path: str, limit: int | None = None) -> bytes:
        """Read a file of the receipt. A link is none: it may lead to anybody's."""
        found = self._host.files.stat(path)
        if found is not None and found.kind != "file":
            raise LocalOpusError(f"{path}: {found.what} is in the place of the receipt", _REMEDY)
        return self._host.files.read_bytes(path, limit)

    def _check_head(self) -> None:
        """Raise LocalOpusError when records are missing at the end."""
        chained = sum(record.v > 1 for record in self.records)
        data = b""
        if self._host.files.stat(self.head) is not None:
            data = self._read(self.head, 256)
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
        known = self.records[number - 1].sum if number else FIRST_SUM
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

        Raises OSError, and then the record may be there or not. Once it is on the disk it counts: a
        head that can't follow stays one behind, and the next record waits for it.
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
        with suppress(OSError):
            self._write_head()

    def _last_sum(self) -> str:
        return self.records[-1].sum if self.records else FIRST_SUM

    def _write_head(self) -> None:
        with self._host.files.open_in_place(self.head) as stream:
            stream.write(_head_line(len(self.records), self._last_sum()))
            stream.flush()
            os.fsync(stream.fileno())
        if self._headed is None:
            self._host.files.sync(self.head.rpartition("/")[0])
        self._headed = len(self.records)
