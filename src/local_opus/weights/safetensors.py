"""The structure check of safetensors.

Layout: 8 bytes with the header's length (little endian), a JSON object of names to dtype, shape
and data_offsets, then the data; ranges start at 0, leave no gap and end with the file.
Source: the format section of huggingface/safetensors' README.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights.filler import LEAST_EXPECTED, Run, dense, expected
from local_opus.weights.structure import (
    Cursor,
    Refusal,
    RefusedError,
    corrupt,
    printable,
    truncated,
)

#: Bytes of a header that the format allows, and that are read here. Parsed by Python 100 MB are
#: over 1 GB of memory; a tensor takes about 110 bytes, so 16 MB name 150,000, and the largest
#: models' shards stay under 1 MB.
FORMAT_HEADER = 100_000_000
MAX_HEADER = 16 * 1024 * 1024
#: Forms of the floating-point dtypes, for ``filler``.
_FORMS = {"F64": "f64", "F32": "f32", "F16": "f16", "BF16": "bf16", "F8_E8M0": "e8m0"}
_FIRM = re.compile(r"(?:norm\.weight|scales?|scale_inv|absmax|bias)\Z")
_PACKED = re.compile(r"(?:W_q|packed|qweight|q_weight)\Z")
_LENGTH = struct.Struct("<Q")
_RANGE_ENDS = 2
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16,
    "BF16": 16, "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8,
    "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True)
class SafetensorsInfo:
    """What a sound file says of itself."""

    tensors: int
    parameters: int
    dtypes: tuple[str, ...]
    names: frozenset[str]
    data_bytes: int
    runs: tuple[Run, ...]

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {
            "format": "safetensors",
            "tensors": self.tensors,
            "parameters": self.parameters,
            "dtypes": ", ".join(self.dtypes),
        }


@dataclass(frozen=True)
class _Range:
    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    begin: int
    end: int


def check(stream: BinaryIO, size: int) -> SafetensorsInfo | Refusal:
    """Check the file of ``size`` bytes at the start of ``stream``.

    Raises OSError as reading does, and nothing else.
    """
    try:
        return _parse(Cursor(stream, size, MAX_HEADER + _LENGTH.size))
    except RefusedError as error:
        return error.refusal


def _parse(cursor: Cursor) -> SafetensorsInfo:
    length = cursor.number(_LENGTH, "the header's length")
    if length > FORMAT_HEADER:
        raise corrupt(f"the header claims {length} bytes; the format allows {FORMAT_HEADER}")
    if length > MAX_HEADER:
        reason = f"the header has {length} bytes; at most {MAX_HEADER} are read"
        raise RefusedError(Verdict.UNSAFE, reason)
    data = cursor.take(length, "the header")
    if not data.startswith(b"{"):
        raise corrupt("the header does not begin with {")
    try:
        header = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise corrupt(f"the header is no JSON: {printable(str(error))}") from error
    ranges = sorted(
        (_range(name, entry) for name, entry in header.items() if name != "__metadata__"),
        key=lambda item: (item.begin, item.end),
    )
    end = 0
    for item in ranges:
        if item.begin != end:
            raise corrupt(f"tensor {printable(item.name)!r} begins at {item.begin}, not at {end}")
        end = item.end
    needed = cursor.position + end
    if cursor.size < needed:
        raise truncated(f"the tensors need {needed} bytes, the file has {cursor.size}")
    if cursor.size > needed:
        raise corrupt(f"{cursor.size - needed} bytes after the last tensor belong to no tensor")
    return SafetensorsInfo(
        tensors=len(ranges),
        parameters=sum(item.elements for item in ranges),
        dtypes=tuple(sorted({item.dtype for item in ranges})),
        names=frozenset(item.name for item in ranges),
        data_bytes=end,
        runs=tuple(_runs(ranges, cursor.position)),
    )


def _runs(ranges: list[_Range], start: int) -> list[Run]:
    """Return the tensors that can't hold random bytes.

    Those are norms, biases and scales, which have one dim or say so. Only where they are too few to
    judge by are matrices taken too, and of them none that may be packed integers: some quantizers
    store these in a floating-point type, as one column or with their parts' names after theirs.
    """
    floats = [item for item in ranges if item.dtype in _FORMS]
    firm = {item.name for item in floats if len(item.shape) <= 1 or _FIRM.search(item.name)}
    runs = [_run(item, start) for item in floats if item.name in firm]
    if expected(runs) >= LEAST_EXPECTED:
        return runs
    beside = firm | {item.name.rpartition(".")[0] for item in ranges}
    return runs + [
        _run(item, start)
        for item in floats
        if item.name not in beside and item.shape[-1] != 1 and not _PACKED.search(item.name)
    ]


def _run(item: _Range, start: int) -> Run:
    return dense(item.name, _FORMS[item.dtype], start + item.begin, item.end - item.begin)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _counts(value: object, what: str) -> list[int]:
    if not isinstance(value, list):
        raise corrupt(f"{what} is no list")
    for item in value:
        if type(item) is not int or not 0 <= item < 1 << 63:
            raise corrupt(f"{what} holds {printable(str(item), 40)!r}, not a count")
    return value


def _range(name: str, entry: object) -> _Range:
    shown = f"tensor {printable(name)!r}"
    if not isinstance(entry, dict):
        raise corrupt(f"{shown} is no object")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise corrupt(f"{shown} has the unknown dtype {printable(str(dtype), 40)!r}")
    elements = 1
    shape = _counts(entry.get("shape"), f"the shape of {shown}")
    for dim in shape:
        elements *= dim
        if elements >= 1 << 63:
            raise corrupt(f"{shown}: its shape overflows 64 bits")
    offsets = _counts(entry.get("data_offsets"), f"the range of {shown}")
    if len(offsets) != _RANGE_ENDS or offsets[1] < offsets[0]:
        raise corrupt(f"the range of {shown} is no range")
    if (offsets[1] - offsets[0]) * 8 != elements * _BITS[dtype]:
        raise corrupt(f"{shown}: its range does not hold its shape")
    return _Range(name, dtype, tuple(shape), elements, offsets[0], offsets[1])
