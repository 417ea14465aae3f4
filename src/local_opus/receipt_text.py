"""The text of a receipt: records chained by checksum, and the head that names the last one.

Pure: bytes come in, records go out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from local_opus.errors import LocalOpusError
from local_opus.history import SCHEMA_VERSION, Event, Record

FIRST_SUM = "0" * 64
REMEDY = "Restore it from a backup, or see `receipt --help` for --salvage; nothing was changed."
#: The head has one length, so that it is overwritten in one write within a disk's sector.
_HEAD = re.compile(rb"( *[0-9]+) ([0-9a-f]{64})\n")


class NewerReceiptError(LocalOpusError):
    """A newer version wrote it; nothing is damaged."""


def parse(data: bytes, name: str) -> tuple[list[Record], int]:
    """Return the records and the length of the good part; a torn last line is left out.

    Raises LocalOpusError that names ``name`` and the line when a record is damaged or of a newer
    schema.
    """
    records: list[Record] = []
    good = 0
    for record, length in read(data, name):
        records.append(record)
        good += length
    return records, good


def read(data: bytes, name: str) -> Iterator[tuple[Record, int]]:
    """Yield each record and the length of its line; raise as ``parse`` does."""
    previous = FIRST_SUM
    # Only "\n" ends a line: a byte that became another line break is damage, and no torn end.
    *lines, _torn = data.split(b"\n")
    for number, text in enumerate(lines, start=1):
        line = text + b"\n"
        record = _parse_line(line, f"{name}:{number}")
        if record.sum != record.checksum(previous) or record.n != number:
            raise LocalOpusError(
                f"{name}:{number}: wrong checksum: edited, or lines are missing", REMEDY
            )
        previous = record.sum
        yield record, len(line)


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
        raise LocalOpusError(f"{where}: not a record of a receipt", REMEDY) from error


def head_line(number: int, sum_: str) -> bytes:
    """Return the head that names the record ``number`` and its sum."""
    return b"%12d %s\n" % (number, sum_.encode())


def check_head(data: bytes, records: Sequence[Record], head: str, receipt: str) -> int | None:
    """Return the number of the record that a head names; None where there need be none yet.

    The names are those of the two files. Raises LocalOpusError when records are missing at the end.
    """
    chained = any(record.v > 1 for record in records)
    leaving = bool(records) and records[-1].event is Event.LEFT
    if not data and (leaving or not chained):  # of schema 1, or before the first record
        return None
    found = _HEAD.fullmatch(data)
    if found is None:
        what = "not the head of a receipt" if data else "missing or empty"
        raise LocalOpusError(f"{head}: {what}", REMEDY)
    number, sum_ = int(found[1]), found[2].decode()
    if number > len(records):
        raise LocalOpusError(
            f"{receipt}: {number - len(records)} of {number} records are missing at the end",
            REMEDY,
        )
    if (records[number - 1].sum if number else FIRST_SUM) != sum_:
        raise of_another(head)
    return number


def of_another(head: str) -> LocalOpusError:
    """Return what says that a head and the records beside it don't belong together."""
    return LocalOpusError(f"{head}: of another receipt", REMEDY)
