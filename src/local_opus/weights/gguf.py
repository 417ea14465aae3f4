"""The structure check of GGUF, before any library sees the file.

GenAI loads a GGUF that was cut in half and dies with a segmentation fault on a wrong tensor count,
so every count, length and extent is checked here, with integers that can't overflow.
Layout: ``docs/gguf.md`` of ggml.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from local_opus.weights.filler import Run
from local_opus.weights.ggml_types import ARRAY, SCALARS, STRING, TENSOR_TYPES, TYPES_BY_NAME
from local_opus.weights.structure import (
    Cursor,
    Refusal,
    RefusedError,
    corrupt,
    printable,
    truncated,
)

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
_STRING_LENGTH = _U64.size
_FEWEST_TENSOR_BYTES = 8 + 4 + 4 + 8

Scalar = int | float | str


@dataclass(frozen=True)
class Tensor:
    """One tensor: its type's name, its dims (the fastest first) and its extent in the data."""

    name: str
    type: str
    dims: tuple[int, ...]
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """Values in the tensor."""
        count = 1
        for dim in self.dims:
            count *= dim
        return count


@dataclass(frozen=True)
class GgufInfo:
    """What a sound GGUF says of itself. ``arrays`` maps a key to its element count."""

    version: int
    values: Mapping[str, Scalar]
    arrays: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_start: int

    def text(self, key: str) -> str | None:
        """Return a key's value where it is a string."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """Return a key's value where it is an integer."""
        value = self.values.get(key)
        return value if isinstance(value, int) else None

    @property
    def architecture(self) -> str | None:
        """``general.architecture``, e.g. llama."""
        return self.text("general.architecture")

    @property
    def name(self) -> str | None:
        """``general.name``."""
        return self.text("general.name")

    @property
    def context_length(self) -> int | None:
        """Tokens that the model was made for."""
        return self.number(f"{self.architecture}.context_length")

    @property
    def tokenizer_model(self) -> str | None:
        """``tokenizer.ggml.model``: gpt2 is byte-level BPE, llama is SentencePiece."""
        return self.text("tokenizer.ggml.model")

    @property
    def has_chat_template(self) -> bool:
        """Whether the file carries a chat template."""
        return bool(self.text("tokenizer.chat_template"))

    @property
    def parameters(self) -> int:
        """Values in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quantization(self) -> str:
        """The tensor type that holds the most bytes."""
        held: dict[str, int] = {}
        for tensor in self.tensors:
            held[tensor.type] = held.get(tensor.type, 0) + tensor.bytes
        return max(held, key=lambda name: held[name]) if held else "none"

    def runs(self) -> list[Run]:
        """Return the floating-point numbers in the data: plain values and blocks' scales."""
        return [
            Run(
                tensor.name,
                form,
                self.data_start + tensor.offset + place,
                kind.size,
                tensor.elements // kind.block,
            )
            for tensor in self.tensors
            for kind in (TYPES_BY_NAME[tensor.type],)
            for form, place in kind.floats
        ]

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {
            "format": f"gguf v{self.version}",
            "architecture": self.architecture,
            "name": self.name,
            "context_length": self.context_length,
            "file_type": self.number("general.file_type"),
            "quantization": self.quantization,
            "tensors": len(self.tensors),
            "parameters": self.parameters,
            "chat_template": self.has_chat_template,
            "tokenizer": self.tokenizer_model,
        }


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
        cursor.need(count * _STRING_LENGTH, shown)
        for _ in range(count):
            length = cursor.number(_U64, shown)
            if length > MAX_STRING:
                raise corrupt(f"{shown} holds a string of {length} bytes")
            cursor.take(length, shown)
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
