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
from contextlib import suppress
from typing import NamedTuple

from pydantic import JsonValue

from local_opus import receipt_text
from local_opus.errors import LocalOpusError
from local_opus.history import Event, Fold, History, Record
from local_opus.host import Host
from local_opus.receipt_text import FIRST_SUM, NewerReceiptError, parse

__all__ = [
    "FIRST_SUM",
    "NewerReceiptError",
    "Receipt",
    "Salvaged",
    "is_there",
    "parse",
    "salvage",
    "set_aside",
]

#: In the name of a damaged receipt that was set aside, before its number.
_ASIDE = ".damaged-"


class Salvaged(NamedTuple):
    """How many records were kept, and where the whole is; None: there was no file to set aside."""

    kept: int
    aside: str | None


def is_there(host: Host, path: str) -> bool:
    """Whether there is a receipt, or the head of one that is gone."""
    return any(host.files.stat(one) is not None for one in (path, _head_of(path)))


def salvage(host: Host, path: str) -> Salvaged | None:
    """Keep the records before the first damaged one, and the whole file under another name.

    None: it is sound, and nothing was changed. What the lost records speak of counts from then on
    as not made by this program: it stays where it is. The caller holds the lock. Raises
    NewerReceiptError.
    """
    try:
        Receipt(host, path, held=True)
    except NewerReceiptError:
        raise
    except LocalOpusError:
        return _salvage(host, path)
    return None


def _salvage(host: Host, path: str) -> Salvaged:
    is_file = host.files.stat(path) is not None
    data = host.files.read_bytes(path) if is_file else b""
    good, count, last = 0, 0, FIRST_SUM
    try:
        for record, length in receipt_text.read(data, path):
            good, count, last = good + length, count + 1, record.sum
    except NewerReceiptError:
        raise
    except LocalOpusError:  # the one that is damaged: the rest hangs on it
        pass
    aside = None
    if is_file:
        names = (f"{path}{_ASIDE}{number}" for number in itertools.count(1))
        aside = next(name for name in names if host.files.stat(name) is None)
        host.files.write_atomic(aside, data, mode=0o600)
    # The head goes first: without it a kill here leaves a receipt that is salvaged once more.
    head = _head_of(path)
    host.files.discard(head)
    host.files.write_atomic(path, data[:good], mode=0o600)
    host.files.write_atomic(head, receipt_text.head_line(count, last), mode=0o600)
    return Salvaged(count, aside)


def set_aside(host: Host, path: str) -> list[str]:
    """Return the damaged receipts that ``salvage`` left beside ``path``."""
    folder, _, name = path.rpartition("/")
    beside = host.files.list(folder) if host.files.stat(folder, follow=True) is not None else []
    return [f"{folder}/{one}" for one in beside if one.startswith(name + _ASIDE)]


def _head_of(path: str) -> str:
    return f"{path.removesuffix('.jsonl')}.head"


class Receipt:
    """The receipt on disk. Each record is on stable storage before ``append`` returns."""

    def __init__(self, host: Host, path: str, *, held: bool = False) -> None:
        """Read it where it is there. Raises LocalOpusError when it is damaged.

        ``held`` says that the caller holds the lock. Without it a run may append meanwhile: what
        looks damaged is then read again, until it is so twice.
        """
        self._host = host
        self.path = path
        self.head = _head_of(path)
        self.records: list[Record] = []
        self._fold = Fold()
        self._length = 0
        #: Number of the record that the head names; None: there is no head yet.
        self._headed: int | None = None
        self._require_own()
        seen = None
        while True:
            # The head first: records that come meanwhile are ahead of it, never behind.
            now = self._read(self.head, 256), self._read(path)
            try:
                self._judge(*now, held=held)
            except LocalOpusError:
                if held or now == seen:
                    raise
                seen = now
            else:
                return

    @property
    def history(self) -> History:
        """Where every action stands now."""
        for record in self.records[self._fold.taken :]:
            self._fold.take(record)
        return self._fold.history()

    def _require_own(self) -> None:
        """Raise LocalOpusError where others could tell root what to run and what to remove."""
        for path in (self.path.rpartition("/")[0] or "/", self.path, self.head):
            if (hand := self._host.files.others_hand(path)) is not None:
                raise LocalOpusError(
                    f"{path}: {hand}, and root would do what the receipt says",
                    f"Run this as that user; or, where you trust it, `chown root: {path}` and "
                    f"`chmod go-w {path}`.",
                )

    def _read(self, path: str, limit: int | None = None) -> bytes:
        """Read a file of the receipt, nothing where it is not there.

        A link is none: it may lead to anybody's.
        """
        found = self._host.files.stat(path)
        if found is None:
            return b""
        if found.kind != "file":
            raise LocalOpusError(
                f"{path}: {found.what} is in the place of the receipt", receipt_text.REMEDY
            )
        try:
            return self._host.files.read_bytes(path, limit)
        except FileNotFoundError:  # an uninstall has come to its end just now
            return b""

    def _judge(self, head: bytes, data: bytes, *, held: bool) -> None:
        records, length = parse(data, self.path)
        number = receipt_text.check_head(head, records, self.head, self.path)
        if held and number is not None and number < len(records) - 1:
            raise receipt_text.of_another(self.head)
        self.records, self._length, self._headed = records, length, number

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
            stream.write(receipt_text.head_line(len(self.records), self._last_sum()))
            stream.flush()
            os.fsync(stream.fileno())
        if self._headed is None:
            self._host.files.sync(self.head.rpartition("/")[0])
        self._headed = len(self.records)
