"""The structure check of ONNX: the outer messages, and every tensor's data against its shape.

Field numbers and data types: ``onnx/onnx.proto`` of onnx 1.23.2. The library itself is not needed,
and its parser never sees the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights.filler import Run, dense
from local_opus.weights.onnx_tensor import External, TensorFacts, read_tensor
from local_opus.weights.protobuf import LENGTH, VARINT, Wire
from local_opus.weights.structure import Refusal, RefusedError, corrupt, printable

#: Messages inside messages at most, as protobuf's own parsers have it; a subgraph takes three.
MAX_DEPTH = 100
#: Tensors that are remembered for a look at their values, and files that data may lie in.
MAX_RUNS = 65_536
MAX_FILES = 65_536
_MAX_TEXT = 200
#: An attribute with a tensor that lies in another file takes more bytes than this.
_SMALL_ATTRIBUTE = 24

(_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _TRAINING, _FUNCTION, _OPSET) = range(9)
#: By message: the fields that hold messages worth a look.
_INSIDE: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 8: _OPSET, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _OPSET: {},
}
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION = 1, 2, 3
_OPSET_VERSION = 2


@dataclass(frozen=True)
class OutsideFile:
    """A file that holds tensors' data: the bytes it needs, and the numbers in it."""

    end: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class OnnxInfo:
    """What a sound model says of itself. ``outside``: by path relative to the model's folder."""

    ir_version: int
    producer: str
    opset: int
    nodes: int
    tensors: int
    parameters: int
    runs: tuple[Run, ...]
    outside: dict[str, OutsideFile]

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {
            "format": f"onnx v{self.ir_version}",
            "producer": self.producer,
            "opset": self.opset,
            "nodes": self.nodes,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "data_files": len(self.outside),
        }


def check(stream: BinaryIO, size: int) -> OnnxInfo | Refusal:
    """Check the model of ``size`` bytes at the start of ``stream``.

    Whether the files are there that its data lie in is not looked at. Raises OSError as reading
    does, and nothing else.
    """
    model = _Model()
    try:
        model.walk(Wire(stream, size))
        return model.info()
    except RefusedError as error:
        return error.refusal


@dataclass
class _Model:
    """Collects what the checks need while the messages are walked."""

    ir_version: int | None = None
    producer: str = ""
    opset: int = 0
    graphs: int = 0
    nodes: int = 0
    tensors: int = 0
    parameters: int = 0
    runs: list[Run] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    outside: dict[str, list[Run]] = field(default_factory=dict)

    def walk(self, wire: Wire) -> None:
        """Walk all messages. Raises RefusedError for what is no sound model."""
        stack = [(_MODEL, wire.size)]
        while stack:
            kind, end = stack[-1]
            if wire.position >= end:
                stack.pop()
                continue
            number, form, value = wire.field(end)
            child = _INSIDE[kind].get(number)
            if child is None:
                self._plain(wire, kind, number, form, value)
                continue
            if form != LENGTH:
                raise corrupt(f"the field before byte {wire.position} should hold a message")
            if child == _TENSOR:
                self._tensor(read_tensor(wire, wire.position + value))
            elif child == _ATTRIBUTE and value < _SMALL_ATTRIBUTE:
                wire.skip(value)
            else:
                self.graphs += kind == _MODEL and child == _GRAPH
                self.nodes += child == _NODE
                stack.append((child, wire.position + value))
                if len(stack) > MAX_DEPTH:
                    raise RefusedError(Verdict.UNSAFE, f"it is nested deeper than {MAX_DEPTH}")

    def info(self) -> OnnxInfo:
        """Return what was found. Raises RefusedError where the model is not whole."""
        if self.ir_version is None:
            raise corrupt("it states no ir_version, which every ONNX model does")
        if not self.graphs:
            raise corrupt("it has no graph")
        return OnnxInfo(
            ir_version=self.ir_version,
            producer=printable(self.producer),
            opset=self.opset,
            nodes=self.nodes,
            tensors=self.tensors,
            parameters=self.parameters,
            runs=tuple(self.runs),
            outside={
                path: OutsideFile(end, tuple(self.outside.get(path, ())))
                for path, end in self.ends.items()
            },
        )

    def _plain(self, wire: Wire, kind: int, number: int, form: int, value: int) -> None:
        if form == LENGTH:
            if kind == _MODEL and number == _PRODUCER:
                self.producer = wire.text(value, _MAX_TEXT)
            elif kind == _MODEL and number == _PRODUCER_VERSION:
                self.producer = f"{self.producer} {wire.text(value, _MAX_TEXT)}".strip()
            else:
                wire.skip(value)
        elif form == VARINT and kind == _MODEL and number == _IR_VERSION:
            self.ir_version = value
        elif form == VARINT and kind == _OPSET and number == _OPSET_VERSION:
            self.opset = max(self.opset, value)

    def _tensor(self, tensor: TensorFacts) -> None:
        self.tensors += 1
        self.parameters += tensor.elements
        if tensor.external is not None:
            self._outside(tensor, tensor.external)
        elif tensor.form is not None and tensor.data_size and len(self.runs) < MAX_RUNS:
            self.runs.append(dense(tensor.name, tensor.form, tensor.data_at, tensor.data_size))

    def _outside(self, tensor: TensorFacts, place: External) -> None:
        if place.path not in self.ends and len(self.ends) >= MAX_FILES:
            raise RefusedError(Verdict.UNSAFE, f"its data lie in more than {MAX_FILES} files")
        end = place.offset + place.length
        self.ends[place.path] = max(end, self.ends.get(place.path, 0))
        if tensor.form is not None and len(self.runs) < MAX_RUNS:
            runs = self.outside.setdefault(place.path, [])
            if len(runs) < MAX_RUNS:
                runs.append(dense(tensor.name, tensor.form, place.offset, place.length))
