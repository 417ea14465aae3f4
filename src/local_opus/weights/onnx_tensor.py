"""One tensor of an ONNX model: its shape, and where its data are.

Field numbers: message TensorProto of ``onnx/onnx.proto``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from posixpath import normpath

from local_opus.values import Verdict
from local_opus.weights.protobuf import FIXED32, FIXED64, LENGTH, VARINT, Wire
from local_opus.weights.structure import RefusedError, corrupt, printable

MAX_INT64 = (1 << 63) - 1
MAX_DIMS = 1_024
#: Bytes of a name, of a path and of the numbers beside it.
_MAX_TEXT = 4_096
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
#: Where a runtime says that data lie in its own memory: in a file it is an address to read from.
_IN_MEMORY = "_ORT_MEM_ADDR_"

#: Bits of a value by data type. Of types that are not here (of 6 bits, or later than this list)
#: only the extents are checked.
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
_STRING = 8
_FORMS = {1: "f32", 10: "f16", 11: "f64", 16: "bf16", 24: "e8m0"}
(_DIMS, _TYPE, _SEGMENT, _FLOATS, _INT32S, _STRINGS, _INT64S, _NAME, _RAW, _DOUBLES, _UINT64S) = (
    range(1, 12)
)
_EXTERNAL, _LOCATION = 13, 14
_IS_EXTERNAL = 1
_WIDTHS = {_FLOATS: 4, _DOUBLES: 8}
_VARINTS = frozenset({_INT32S, _INT64S, _UINT64S})
_LONGEST_VARINT = 10
_BYTE = 8


@dataclass(frozen=True)
class External:
    """Data that lie in another file, by its path relative to the model's folder."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True)
class TensorFacts:
    """A sound tensor. ``form``: of its numbers where they lie densely in ``data_size`` bytes."""

    name: str
    elements: int
    form: str | None
    data_at: int
    data_size: int
    external: External | None


@dataclass
class _Tensor:
    dims: list[int] = field(default_factory=list)
    type: int = 0
    name: str = ""
    is_segment: bool = False
    is_external: bool = False
    strings: int = 0
    #: By field: values that stand alone, and bytes that stand together.
    single: dict[int, int] = field(default_factory=dict)
    packed: dict[int, int] = field(default_factory=dict)
    raw: tuple[int, int] | None = None
    floats_at: int = 0
    entries: dict[str, str] = field(default_factory=dict)


def read_tensor(wire: Wire, end: int) -> TensorFacts:
    """Read the tensor that ends at byte ``end``. Raises RefusedError where it is not sound."""
    tensor = _Tensor()
    while wire.position < end:
        number, form, value = wire.field(end)
        if form == LENGTH:
            _with_length(wire, tensor, number, value)
        elif number == _DIMS and form == VARINT:
            _dim(tensor, value)
        elif number == _TYPE and form == VARINT:
            tensor.type = value
        elif number == _LOCATION and form == VARINT:
            tensor.is_external = value == _IS_EXTERNAL
        elif form in {VARINT, FIXED32, FIXED64}:
            tensor.single[number] = tensor.single.get(number, 0) + 1
    return _judge(tensor)


def _with_length(wire: Wire, tensor: _Tensor, number: int, length: int) -> None:
    if number == _RAW:
        tensor.raw = (wire.position, length)
    elif number == _DIMS:
        end = wire.position + length
        while wire.position < end:
            _dim(tensor, wire.varint(end))
        return
    elif number == _NAME:
        tensor.name = wire.text(length, _MAX_TEXT)
        return
    elif number == _EXTERNAL:
        _entry(wire, tensor, wire.position + length)
        return
    elif number == _SEGMENT:
        tensor.is_segment = True
    elif number == _STRINGS:
        tensor.strings += 1
    elif number in _WIDTHS or number in _VARINTS:
        if number == _FLOATS:
            tensor.floats_at = wire.position
        tensor.packed[number] = tensor.packed.get(number, 0) + length
    wire.skip(length)


def _dim(tensor: _Tensor, value: int) -> None:
    if value > MAX_INT64:
        raise corrupt("a tensor has a negative dim")
    tensor.dims.append(value)
    if len(tensor.dims) > MAX_DIMS:
        raise corrupt(f"a tensor has more than {MAX_DIMS} dims")


def _entry(wire: Wire, tensor: _Tensor, end: int) -> None:
    """Read one key and value of where a tensor's data lie."""
    texts = {1: "", 2: ""}
    while wire.position < end:
        number, form, length = wire.field(end)
        if form == LENGTH:
            texts[number] = wire.text(length, _MAX_TEXT)
    tensor.entries[texts[1]] = texts[2]


def _judge(tensor: _Tensor) -> TensorFacts:
    shown = f"tensor {printable(tensor.name, 80)!r}"
    elements = 1
    for dim in tensor.dims:
        elements *= dim
        if elements > MAX_INT64:
            raise corrupt(f"{shown}: its shape overflows 64 bits")
    bits = _BITS.get(tensor.type)
    needed = None if bits is None else -(-elements * bits // 8)
    form = _FORMS.get(tensor.type)
    if tensor.is_external:
        external = _external(tensor, shown, needed)
        return TensorFacts(tensor.name, elements, form, 0, 0, external)
    if tensor.raw is not None:
        at, size = tensor.raw
        if needed is not None and not tensor.is_segment and size != needed:
            raise corrupt(f"{shown} has {size} bytes of data, its shape needs {needed}")
        return TensorFacts(tensor.name, elements, form, at, size, None)
    if not tensor.is_segment:
        _check_typed(tensor, shown, elements)
    size = tensor.packed.get(_FLOATS, 0)
    return TensorFacts(tensor.name, elements, "f32" if size else None, tensor.floats_at, size, None)


def _check_typed(tensor: _Tensor, shown: str, elements: int) -> None:
    """Refuse fewer or more values than the shape needs; of packed ones, bytes that can't hold it.

    A packed number takes one to ten bytes.
    """
    if tensor.type == _STRING:
        if tensor.strings != elements:
            raise corrupt(f"{shown} has {tensor.strings} strings, its shape needs {elements}")
        return
    if tensor.type not in _BITS:
        return
    bits = _BITS[tensor.type]
    values = elements * 2 if tensor.type in {14, 15} else elements
    if bits < _BYTE:
        values = -(-elements * bits // _BYTE)
    least = most = 0
    for number in (*_WIDTHS, *_VARINTS):
        alone, together = tensor.single.get(number, 0), tensor.packed.get(number, 0)
        width = _WIDTHS.get(number)
        if width is not None:
            least += alone + together // width
            most += alone + together // width
        else:
            least += alone + -(-together // _LONGEST_VARINT)
            most += alone + together
    if not least <= values <= most:
        held = str(most) if least == most else f"{least} to {most}"
        raise corrupt(f"{shown} has {held} values, its shape needs {values}")


def _external(tensor: _Tensor, shown: str, needed: int | None) -> External:
    path = tensor.entries.get("location", "")
    if _leaves(path):
        reason = f"{shown}: its data lie outside the folder, in {printable(path)!r}"
        raise RefusedError(Verdict.UNSAFE, reason)
    numbers = {}
    for key in ("offset", "length"):
        text = tensor.entries.get(key)
        if text is not None and _NUMBER.fullmatch(text) is None:
            raise corrupt(f"{shown}: its {key} is {printable(text, 40)!r}, not a number")
        numbers[key] = int(text) if text is not None else None
    length = numbers["length"]
    if length is not None and needed is not None and length != needed:
        raise corrupt(f"{shown} has {length} bytes of data, its shape needs {needed}")
    offset = numbers["offset"] or 0
    length = length if length is not None else needed or 0
    if offset + length > MAX_INT64:
        raise corrupt(f"{shown}: the end of its data, {offset} + {length}, overflows 64 bits")
    return External(normpath(path), offset, length)


def _leaves(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    is_absolute = path.startswith(("/", "\\")) or path[1:2] == ":"
    return not path or is_absolute or ".." in parts or "\0" in path or _IN_MEMORY in path
