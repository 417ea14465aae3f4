"""The dimensions of a model that decide its memory: read from a GGUF, or by rule. Pure."""

from __future__ import annotations

import math

from local_opus.catalog import engine_memory as engine
from local_opus.catalog.engine_memory import Dimensions
from local_opus.values import Model
from local_opus.weights.gguf_info import GgufInfo, Tensor

#: What the reader keeps in 32 bits, whatever its type: norms and biases. Their memory is small.
_SMALL = 4.0
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"

#: Bytes of memory for each byte of a GGUF, where its tensors are not known. One type in the whole
#: file: the quotient of ``engine_memory.LINEAR`` and the type's bytes. Q4_K_M is a mixture with
#: Q6_K for the output and a seventh of the rest; below 5 billion parameters most models use the
#: embedding for the output, and it is a large part of them.
_GGUF = {"Q4_0": 1.36, "Q4_1": 1.26, "Q8_0": 1.25, "Q6_K": 2.18, "F16": 3.0, "Q4_K_M": 1.6}
_TIED_BELOW = 5.0
_GGUF_TIED = {"Q4_K_M": 1.8}
#: The same for an IR that was compressed as one: its groups have 128 values or a row, and nothing
#: is widened. Measured with Qwen2's shape of 0.5 billion parameters, compressed by nncf 2.17.0 to
#: INT4_SYM and INT4_ASYM of groups of 128 (0.98); FP16 as a GGUF's F16.
_IR = {"FP16": 3.0}
_IR_ELSE = 1.0

#: Where no source states the dimensions: rules, above the 112 KiB (1.7B) and 160 KiB (14B) that
#: are stated for the largest below and above one billion parameters, in values of 16 bits.
_KV_VALUES_SMALL = 56 * 2**10
_KV_VALUES = 96 * 2**10
#: Of Qwen; Llama 3 has 128,256.
_VOCABULARY = 151_936
_HEAD_SIZE = 128
#: From 18,000 (0.36B) to 82,000 (8B) by the formula of ``step_width``: the root of the parameters.
_WIDTH_PER_ROOT = 30_000


def of_gguf(info: GgufInfo, loaded: int) -> Dimensions | None:
    """Return what a GGUF states; None where it lacks a figure or holds a type that is not known.

    ``loaded``: bytes of the IR that is made from it.
    """
    found = {name: info.number(f"{info.architecture}.{key}") for name, key in _KEYS.items()}
    layers, hidden, wide = found["layers"], found["hidden"], found["feed_forward"]
    heads = found["heads"]
    if layers is None or hidden is None or wide is None or not heads:
        return None
    kv_heads = found["kv_heads"] or heads
    head_size = found["head_size"] or hidden // heads
    tensors = {tensor.name: tensor for tensor in info.tensors}
    try:
        weights = sum(_memory(tensor, tied=_OUTPUT not in tensors) for tensor in info.tensors)
    except KeyError:
        return None
    embedding = tensors.get(_EMBEDDING)
    return Dimensions(
        weights=weights,
        file=loaded,
        kv_values=2 * layers * kv_heads * head_size,
        head_size=head_size,
        vocabulary=embedding.dims[-1] if embedding else _VOCABULARY,
        width=engine.step_width(hidden, wide, heads, kv_heads, head_size),
        context=info.context_length,
    )


_KEYS = {
    "layers": "block_count",
    "hidden": "embedding_length",
    "feed_forward": "feed_forward_length",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "head_size": "attention.key_length",
}


def _memory(tensor: Tensor, *, tied: bool) -> int:
    """Return what a tensor takes. Raises KeyError for a type that is not known."""
    if len(tensor.dims) < 2:  # noqa: PLR2004 - a vector: a norm or a bias
        return math.ceil(tensor.elements * _SMALL)
    if tensor.name == _EMBEDDING:
        if tied:
            return engine.matrix_memory(tensor.type, tensor.elements, tied=True)
        return 0  # read row by row from the file
    return engine.matrix_memory(tensor.type, tensor.elements)


def by_rule(model: Model, billions: float, loaded: int) -> Dimensions:
    """Return the dimensions of a catalog's model: its KV cache as stated, the rest by rule."""
    small = billions < 1
    stated = model.memory.kv_bytes_per_token
    return Dimensions(
        weights=_weights(model, billions, loaded),
        file=loaded,
        kv_values=stated // 2 if stated else (_KV_VALUES_SMALL if small else _KV_VALUES),
        head_size=_HEAD_SIZE,
        vocabulary=_VOCABULARY,
        width=math.ceil(_WIDTH_PER_ROOT * math.sqrt(billions)),
        context=model.context_length,
        stated=False,
    )


def _weights(model: Model, billions: float, loaded: int) -> int:
    kind = model.quantization.upper()
    if model.format != "gguf":
        return math.ceil(loaded * _IR.get(kind.partition("_")[0], _IR_ELSE))
    factors = {**_GGUF, **_GGUF_TIED} if billions < _TIED_BELOW else _GGUF
    return math.ceil(model.size * factors.get(kind, max(_GGUF.values())))
