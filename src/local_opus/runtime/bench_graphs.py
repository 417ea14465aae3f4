"""Graphs that are little but matrix products, with what they must answer. Static shapes only.

A chain of square products, each made from int8 numbers and one scale, so that every precision
computes the same and the same answer proves them all. Nothing large goes in or out, so that the
way to the device is not measured: one row comes in, is added to a constant of many rows there,
and the mean of all rows comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import openvino

    Array = np.ndarray[Any, np.dtype[Any]]

#: The products' names begin so: the plugin's graph is searched for them.
NAME = "bench_product"
#: The standard deviation of whole numbers that are even over -127..127.
_INT8_DEVIATION = 73.3
#: Activations have a deviation of about one: int8 has to hold four of them on either side.
_RANGE = 4.0
_SEED = 20260101


@dataclass(frozen=True)
class Size:
    """``rows`` x ``width`` numbers times ``layers`` matrices of ``width`` x ``width``."""

    rows: int
    width: int
    layers: int

    @property
    def operations(self) -> int:
        """Operations of one inference; a multiply-add is two."""
        return 2 * self.rows * self.width**2 * self.layers

    @property
    def weights(self) -> int:
        """Numbers in all matrices."""
        return self.width**2 * self.layers

    def __str__(self) -> str:
        return f"{self.layers} x [{self.rows},{self.width}]x[{self.width},{self.width}]"


@dataclass(frozen=True)
class Graph:
    """A model, the row that goes in, and the row that must come out."""

    model: openvino.Model
    given: Array
    expected: Array


def build(size: Size, *, int8: bool, compressed: bool = False) -> Graph:
    """Return the graph. ``int8``: activations are quantized too, so that products run in int8.

    ``compressed``: only the weights are int8, as those of a language model are.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    random = np.random.default_rng(_SEED)
    given = random.standard_normal((1, size.width), dtype=np.float32)
    parameter = ops.parameter([1, size.width], np.float32)
    expected, node = given, parameter
    if size.rows > 1:
        rows = random.standard_normal((size.rows, size.width), dtype=np.float32) / np.float32(2)
        expected = given + rows.mean(axis=0, keepdims=True)
        node = ops.add(parameter, ops.constant(rows))
    scale = np.float32(1 / (_INT8_DEVIATION * size.width**0.5))
    for layer in range(size.layers):
        numbers = random.integers(-127, 128, (size.width, size.width), dtype=np.int8)
        if int8:
            node = _quantized(node)
        weights = _scaled(numbers, scale) if int8 or compressed else ops.constant(numbers * scale)
        node = ops.matmul(node, weights, transpose_a=False, transpose_b=True)
        node.set_friendly_name(f"{NAME}_{layer}")
        expected = (expected @ numbers.T.astype(np.float32)) * scale
    if size.rows > 1:
        node = ops.reduce_mean(node, ops.constant(np.array([0], np.int64)), keep_dims=True)
    return Graph(openvino.Model([ops.result(node)], [parameter], "bench"), given, expected)


def _quantized(node: openvino.Node) -> openvino.Node:
    import numpy as np
    from openvino import opset13 as ops

    low = ops.constant(np.float32(-_RANGE))
    high = ops.constant(np.float32(_RANGE * 127 / 128))
    return ops.fake_quantize(node, low, high, low, high, 256)


def _scaled(numbers: Array, scale: np.float32) -> openvino.Node:
    import numpy as np
    from openvino import opset13 as ops

    scales = np.full((len(numbers), 1), scale, np.float32)
    return ops.multiply(ops.convert(ops.constant(numbers), np.float32), ops.constant(scales))


def error_of(answer: Array, expected: Array) -> float:
    """Return the error of an answer as a share of what it should be; not a number: infinity."""
    import numpy as np

    error = float(np.linalg.norm(answer - expected) / np.linalg.norm(expected))
    return error if np.isfinite(error) else float("inf")
