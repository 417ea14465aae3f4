"""The structure check of GGUF, before any library sees the file.

GenAI loads a GGUF that was cut in half and dies with a segmentation fault on a wrong tensor count,
so every count, length and extent is checked here, with integers that can't overflow.
Layout: ``docs/gguf.md`` of ggml.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import BinaryIO

from local_opus.weights.ggml_types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from local_opus.weights.gguf_info import GgufInfo, Scalar, Tensor
from local_opus.weights.structure import (
    Cursor,
    Refusal,
    RefusedError,
    corrupt,
    printable,
    truncated,
)

__all__ = ["GgufInfo", "Tensor", "check"]

MAGIC = b"GGUF"
#: Versions with 64-bit counts; version 1 had 32-bit ones, later ones are not known.
VERSIONS = (2, 3)
#: Bytes of a header at most. The largest vocabularies (262,144 tokens and 500,000 merges) take
#: under 20 MB.
MAX_HEADER = 64 * 1024 * 1024
MAX_TENSORS = 65_536
MAX_KEYS = 65_536
#: Bytes of a key, by the format's text.
MAX_KEY = 65_535
#: Bytes of a tensor's name; ggml itself allows 63.
MAX_NAME = 1_024
#: Bytes of one string value: chat templates are the longest, about 10 kB.
MAX_STRING = 4 * 1024 * 1024
MAX_ALIGNMENT = 1 << 20
MAX_DIMS = 4
#: ggml counts elements and bytes in signed 64-bit integers.
MAX_INT64 = (1 << 63) - 1

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_FEWEST_TENSOR_BYTES = 8 + 4 + 4 + 8


def check(stream: BinaryIO, size: int) -> GgufInfo | Refusal:
    """Check the GGUF of ``size`` bytes at the start of ``stream``.

    Raises OSError as reading does, and nothing else.
    """
    try:
        return _parse(Cursor(stream, size, MAX_HEADER))
    except RefusedError as error:
        return error.refusal


def _parse(cursor: Cursor) -> GgufInfo:
    if cursor.take(4, "the magic") != MAGIC:
        raise corrupt("does not begin with GGUF")
    version = cursor.number(_U32, "the version")
    if version not in VERSIONS:
        raise corrupt(f"GGUF version {version} is none of 2 and 3")
    tensor_count = cursor.number(_U64, "the tensor count")
    key_count = cursor.number(_U64, "the key count")
    if tensor_count > MAX_TENSORS:
        raise corrupt(f"claims {tensor_count} tensors; at most {MAX_TENSORS} are sane")
    if key_count > MAX_KEYS:
        raise corrupt(f"claims {key_count} keys; at most {MAX_KEYS} are sane")
    values, arrays = _keys(cursor, key_count)
    alignment = _alignment(values)
    cursor.need(tensor_count * _FEWEST_TENSOR_BYTES, f"the list of {tensor_count} tensors")
    tensors = tuple(_tensor(cursor, alignment) for _ in range(tensor_count))
    start = -(-cursor.position // alignment) * alignment
    _check_extents(tensors, start, alignment, cursor.size)
    return GgufInfo(version, values, arrays, tensors, alignment, start)


def _string(cursor: Cursor, limit: int, what: str) -> str:
    length = cursor.number(_U64, f"the length of {what}")
    if length > limit:
        raise corrupt(f"{what} claims {length} bytes; at most {limit} are sane")
    try:
        return cursor.take(length, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise corrupt(f"{what} is no UTF-8") from error


def _keys(cursor: Cursor, count: int) -> tuple[dict[str, Scalar], dict[str, int]]:
    values: dict[str, Scalar] = {}
    arrays: dict[str, int] = {}
    for _ in range(count):
        key = _string(cursor, MAX_KEY, "a key")
        shown = f"key {printable(key)!r}"
        if key in values or key in arrays:
            raise corrupt(f"{shown} is there twice")
        kind = cursor.number(_U32, f"the type of {shown}")
        if kind in SCALARS:
            form = SCALARS[kind]
            values[key] = form.unpack(cursor.take(form.size, shown))[0]
        elif kind == STRING:
            values[key] = _string(cursor, MAX_STRING, shown)
        elif kind == ARRAY:
            arrays[key] = _skip_array(cursor, shown)
        else:
            raise corrupt(f"{shown} has the unknown type {kind}")
    return values, arrays


def _skip_array(cursor: Cursor, shown: str) -> int:
    kind = cursor.number(_U32, f"the element type of {shown}")
    count = cursor.number(_U64, f"the length of {shown}")
    if kind in SCALARS:
        cursor.take(count * SCALARS[kind].size, shown)
    elif kind == STRING:
        cursor.skip_strings(count, MAX_STRING, shown)
    else:
        raise corrupt(f"{shown} is an array of type {kind}; nested arrays are refused")
    return count


def _alignment(values: Mapping[str, Scalar]) -> int:
    value = values.get("general.alignment", 32)
    if not isinstance(value, int) or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise corrupt(f"general.alignment is {printable(str(value))}, not a power of two")
    return value


def _tensor(cursor: Cursor, alignment: int) -> Tensor:
    name = _string(cursor, MAX_NAME, "a tensor's name")
    shown = f"tensor {printable(name)!r}"
    count = cursor.number(_U32, f"the dims of {shown}")
    if count > MAX_DIMS:
        raise corrupt(f"{shown} has {count} dims; at most {MAX_DIMS} are allowed")
    dims = tuple(cursor.number(_U64, f"the dims of {shown}") for _ in range(count))
    kind = cursor.number(_U32, f"the type of {shown}")
    offset = cursor.number(_U64, f"the offset of {shown}")
    if kind not in TENSOR_TYPES:
        raise corrupt(f"{shown} has the unknown type {kind}")
    kind_of = TENSOR_TYPES[kind]
    if 0 in dims:
        raise corrupt(f"{shown} has a dim of 0")
    if (first := dims[0] if dims else 1) % kind_of.block:
        raise corrupt(f"{shown}: {first} is no multiple of {kind_of.name}'s {kind_of.block}")
    if offset % alignment:
        raise corrupt(f"{shown}: its offset {offset} is not aligned to {alignment}")
    elements = 1
    for dim in dims:
        elements *= dim
    size = elements // kind_of.block * kind_of.size
    if max(elements, size, offset + size) > MAX_INT64:
        raise corrupt(f"{shown}: its extent overflows 64 bits")
    return Tensor(name, kind_of.name, dims, offset, size)


def _check_extents(tensors: tuple[Tensor, ...], start: int, alignment: int, size: int) -> None:
    """Refuse names that are not unique, overlaps, gaps, and an end that is not the file's."""
    names = {tensor.name for tensor in tensors}
    if len(names) < len(tensors):
        raise corrupt("two tensors have the same name")
    end = 0
    for tensor in sorted(tensors, key=lambda item: item.offset):
        padded = -(-end // alignment) * alignment
        shown = f"tensor {printable(tensor.name)!r}"
        if tensor.offset < padded:
            raise corrupt(f"{shown} overlaps the one before it")
        if tensor.offset > padded:
            raise corrupt(f"{tensor.offset - padded} bytes before {shown} belong to no tensor")
        end = tensor.offset + tensor.bytes
    last = start + end
    if tensors and last > size:
        raise truncated(f"the tensors need {last} bytes, the file has {size}")
    if size > -(-last // alignment) * alignment:
        raise corrupt(f"{size - last} bytes after the last tensor belong to no tensor")
