"""A graph of LLM shape, generated: what there is to tune on where no model is; and a tiny one.

The numbers are random, the shapes and the work are those of a decoder of a few hundred million
parameters: int8 weights that are decompressed where they are used, grouped-query attention over a
context that the graph keeps as its state, a gated feed-forward, a projection to the vocabulary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from local_opus.runtime.protocol import Message

if TYPE_CHECKING:
    import numpy as np
    import openvino

NAME = "generated.xml"
#: Tokens of the prompt, as for a model.
_PROMPT_TOKENS = 128


@dataclass(frozen=True)
class Shape:
    """Lengths of vectors, and numbers of layers and heads. The default has 0.24 * 10^9 weights."""

    layers: int = 12
    hidden: int = 1024
    heads: int = 16
    kv_heads: int = 4
    inner: int = 4096
    vocabulary: int = 32_000


def graph(message: Message) -> Message:
    """Write a graph into ``message["folder"]``; return its bytes and how many weights it has.

    ``message["shape"]`` may hold fields of ``Shape``.
    """
    import openvino

    begin = time.perf_counter()
    given = cast("dict[str, int]", message.get("shape") or {})
    built = _Builder(Shape(**given))
    path = f"{message['folder']}/{NAME}"
    openvino.save_model(built.model(), path, compress_to_fp16=False)
    return {"weights": built.weights, "seconds": round(time.perf_counter() - begin, 3)}


class _Builder:
    """Puts the nodes together; ``weights`` counts."""

    def __init__(self, shape: Shape) -> None:
        import numpy as np

        self.weights = 0
        self._shape = shape
        self._random = np.random.default_rng(1)
        self._sinks: list[Any] = []
        self._variables: list[Any] = []

    def _linear(self, x: Any, rows: int, columns: int) -> Any:  # noqa: ANN401 - nodes have no types
        """Multiply by an int8 matrix [rows, columns] with a scale a row, transposed."""
        import numpy as np
        from openvino import opset13 as ops

        self.weights += rows * columns
        data = self._random.integers(-127, 128, (rows, columns), np.int8)
        scale = np.full((rows, 1), 1 / (73.0 * columns**0.5), np.float16)
        wide = ops.convert(ops.constant(data), "f16")
        matrix = ops.convert(ops.multiply(wide, ops.constant(scale)), "f32")
        return ops.matmul(x, matrix, transpose_a=False, transpose_b=True)

    def _norm(self, x: Any) -> Any:  # noqa: ANN401
        """Divide by the root of the mean square."""
        import numpy as np
        from openvino import opset13 as ops

        axis = ops.constant(np.array([-1], np.int64))
        square = ops.reduce_mean(ops.multiply(x, x), axis, keep_dims=True)
        small = ops.constant(np.float32(1e-5))
        return ops.divide(x, ops.sqrt(ops.add(square, small)))

    def _split(self, x: Any, heads: int) -> Any:  # noqa: ANN401
        """Reshape [1, n, heads * size] to [1, heads, n, size]."""
        import numpy as np
        from openvino import opset13 as ops

        size = self._shape.hidden // self._shape.heads
        shape = ops.constant(np.array([0, -1, heads, size], np.int64))
        order = ops.constant(np.array([0, 2, 1, 3], np.int64))
        return ops.transpose(ops.reshape(x, shape, special_zero=True), order)

    def _kept(self, x: Any, name: str, beam: Any) -> Any:  # noqa: ANN401
        """Append to the context that is kept under ``name``; return all of it."""
        import numpy as np
        import openvino
        from openvino import opset13 as ops
        from openvino.op.util import Variable, VariableInfo

        size = self._shape.hidden // self._shape.heads
        info = VariableInfo()
        info.data_shape = openvino.PartialShape([-1, self._shape.kv_heads, -1, size])
        info.data_type = openvino.Type.f32
        info.variable_id = name
        variable = Variable(info)
        start = ops.constant(np.zeros((1, self._shape.kv_heads, 0, size), np.float32))
        zero = ops.constant(np.int64(0))
        past = ops.gather(ops.read_value(start, variable), beam, zero)
        whole = ops.concat([past, x], 2)
        self._sinks.append(ops.assign(whole, variable))
        self._variables.append(variable)
        return whole

    def _shared(self, x: Any) -> Any:  # noqa: ANN401
        """Repeat each key and value head for the heads that share it."""
        import numpy as np
        from openvino import opset13 as ops

        shape = self._shape
        size, each = shape.hidden // shape.heads, shape.heads // shape.kv_heads
        wide = ops.unsqueeze(x, ops.constant(np.int64(2)))
        to = ops.constant(np.array([1, 1, each, 1, 1], np.int64))
        wide = ops.broadcast(wide, to, broadcast_spec="BIDIRECTIONAL")
        merged = ops.constant(np.array([0, shape.heads, -1, size], np.int64))
        return ops.reshape(wide, merged, special_zero=True)

    def _attention(self, x: Any, layer: int, beam: Any) -> Any:  # noqa: ANN401
        import numpy as np
        from openvino import opset13 as ops

        shape = self._shape
        size = shape.hidden // shape.heads
        query = self._split(self._linear(x, shape.hidden, shape.hidden), shape.heads)
        key, value = (
            self._kept(
                self._split(self._linear(x, shape.kv_heads * size, shape.hidden), shape.kv_heads),
                f"past.{layer}.{part}",
                beam,
            )
            for part in ("key", "value")
        )
        found = ops.scaled_dot_product_attention(
            query, self._shared(key), self._shared(value), causal=False
        )
        order = ops.constant(np.array([0, 2, 1, 3], np.int64))
        flat = ops.constant(np.array([0, -1, shape.hidden], np.int64))
        merged = ops.reshape(ops.transpose(found, order), flat, special_zero=True)
        return self._linear(merged, shape.hidden, shape.hidden)

    def model(self) -> openvino.Model:
        """Return the model: input_ids [1, n] and beam_idx [1] to the logits of the last token."""
        import numpy as np
        import openvino
        from openvino import opset13 as ops

        shape = self._shape
        tokens = ops.parameter([-1, -1], openvino.Type.i64, name="input_ids")
        beam = ops.parameter([-1], openvino.Type.i32, name="beam_idx")
        for node, name in ((tokens, "input_ids"), (beam, "beam_idx")):
            node.output(0).get_tensor().set_names({name})
        table = self._random.integers(-127, 128, (shape.vocabulary, shape.hidden), np.int8)
        zero = ops.constant(np.int64(0))
        x = ops.convert(ops.gather(ops.constant(table), tokens, zero), "f32")
        x = ops.multiply(x, ops.constant(np.float32(1 / 73)))
        for layer in range(shape.layers):
            x = ops.add(x, self._attention(self._norm(x), layer, beam))
            hidden = self._norm(x)
            gate = ops.swish(self._linear(hidden, shape.inner, shape.hidden))
            up = self._linear(hidden, shape.inner, shape.hidden)
            x = ops.add(x, self._linear(ops.multiply(gate, up), shape.hidden, shape.inner))
        last = ops.gather(
            self._norm(x), ops.constant(np.array([-1], np.int64)), ops.constant(np.int64(1))
        )
        logits = self._linear(last, shape.vocabulary, shape.hidden)
        logits.output(0).get_tensor().set_names({"logits"})
        return openvino.Model([ops.result(logits)], self._sinks, [tokens, beam], "generated")


class Graph:
    """The generated graph, compiled; it answers token by token, as a model does."""

    def __init__(self, folder: str, device: str, properties: dict[str, object]) -> None:
        import openvino

        compiled = openvino.Core().compile_model(f"{folder}/{NAME}", device, properties)
        self._request = compiled.create_infer_request()

    def run(self, requests: int, tokens: int) -> tuple[float, float, int, int]:
        """Answer the requests one after the other; see ``tune.Runner``."""
        import numpy as np

        first = 0.0
        begin = time.perf_counter()
        for _ in range(requests):
            self._request.reset_state()
            ids = np.arange(_PROMPT_TOKENS, dtype=np.int64)[None]
            for _ in range(tokens):
                ids = self._next(ids)
                first = first or time.perf_counter() - begin
        made = requests * tokens
        return time.perf_counter() - begin, first, made, made - 1

    def _next(self, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        beam = np.zeros(1, np.int32)
        answer = self._request.infer({"input_ids": ids, "beam_idx": beam})
        logits = next(iter(answer.values()))
        return np.array([[int(np.argmax(logits))]], np.int64)


def check(message: Message) -> Message:
    """Compile a tiny model with ``message["properties"]``: the plugin itself says what is legal.

    ``Core.set_property`` accepts anything until a plugin is first used.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    x = ops.parameter([1, 8], openvino.Type.f32)
    product = ops.matmul(x, ops.constant(np.eye(8, dtype=np.float32)), False, False)  # noqa: FBT003
    tiny = openvino.Model([ops.result(product)], [x], "tiny")
    device = str(message["device"])
    properties = cast("dict[str, Any]", message["properties"])
    try:
        openvino.Core().compile_model(tiny, device, properties)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"legal": False, "problem": lines[-1] if lines else "refused"}
    return {"legal": True, "problem": None}
