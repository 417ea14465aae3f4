"""How the engine comes to its memory. Pure arithmetic; every constant says where it is from.

What is counted is the memory that the kernel can't take back. On the CPU the engine maps the
weights' file, and at the first inference packs the weights anew into memory of its own: from then
on it reads about 4 MB of the file (the embeddings of the tokens that come), so the file's pages
are not counted. They are in VmHWM ("resident memory") all the same.

Measured with openvino-genai 2026.4.1.0 on the CPU (x86-64 with AVX-512 and bfloat16, 2 cores), by
``bench/fit_peaks.py``: real and generated models of llama, qwen2 and qwen3 with 0.1 to 1.7 billion
parameters. Each constant below is the slope that the figures of two or more of them have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MIB = 2**20
GIB = 2**30

#: Bytes of memory for each value of a matrix, by its type in the GGUF: the packed value, and for
#: each group of 32 (Q6_K: 16) a scale and a zero point that are widened to 32 bits. F16: a copy in
#: 32 bits, and a packed one.
LINEAR: Mapping[str, float] = {
    "Q4_0": 0.766, "Q4_1": 0.766, "Q4_K": 0.81, "Q6_K": 1.79, "Q8_0": 1.294, "F16": 6.0,
}  # fmt: skip
#: The same for the embedding where the output is computed with it too (tied): 16 to 20 bytes for
#: each group.
TIED: Mapping[str, float] = {
    "Q4_0": 1.0, "Q4_1": 1.0, "Q4_K": 1.0, "Q6_K": 2.22, "Q8_0": 1.5, "F16": 6.0,
}  # fmt: skip

#: The engine without a model's weights: Python, the libraries, the compiled graph.
ENGINE = 98 * MIB
#: The tokenizer and the vocabulary's own tables, for each token of it.
VOCABULARY = 250
#: Pages of libraries that inference runs on.
LIBRARIES = 12 * MIB
#: The HTTP server beside it, after 8 requests at once (37 MiB), and its libraries.
SERVER = 40 * MIB

#: Tokens that one step computes at most: ``max_num_batched_tokens`` of the scheduler, its default.
BATCH = 256
#: Bytes that a request in work takes for each token of the vocabulary: logits in 32 bits, twice.
_LOGIT = 8

#: Tokens in a block of the KV cache on the CPU; a request holds whole blocks.
BLOCK = 32
_FLOAT_BYTES: Mapping[str, float] = {"f16": 2, "bf16": 2, "f32": 4}
_PACKED_BYTES: Mapping[str, float] = {"u8": 1, "u4": 0.5, "u3": 0.375}
#: Bytes of a scale and a zero point: one pair for each value of a head over a block's tokens
#: (keys), one for each token and head (values).
_PAIR = 8
#: What the engine counts for a value of the KV cache against what it takes: with u4 it counts
#: twice, so half of ``cache_size_gb`` can be filled.
_COUNTED: Mapping[str, float] = {"u4": 2.0}


def kv_value_bytes(precision: str, head_size: int) -> float:
    """Return the bytes of one value in the KV cache. Raises ValueError for an unknown precision."""
    if precision in _FLOAT_BYTES:
        return _FLOAT_BYTES[precision]
    if precision not in _PACKED_BYTES:
        raise ValueError(f"no precision of a KV cache: {precision!r}")
    return _PACKED_BYTES[precision] + (_PAIR / BLOCK + _PAIR / head_size) / 2


def kv_capacity(cache_gb: int, precision: str) -> int:
    """Return the bytes that a KV cache of ``cache_gb`` GiB really takes when it is full."""
    return int(cache_gb * GIB / _COUNTED.get(precision, 1.0))


def buffers(
    width: int, vocabulary: int, requests: int, tokens: int | None, batch: int = BATCH
) -> int:
    """Return the buffers of the largest step; ``width`` as Dimensions has it.

    That is one that reads prompts (``tokens`` together, None: very many; ``batch`` at most) or one
    that answers all requests: their memory is used in turn. Measured with 1, 32 and 128 requests.
    """
    reading = min(batch, tokens or batch) * width * 4
    return max(reading, requests * vocabulary * _LOGIT)


def engine_memory(vocabulary: int) -> int:
    """Return what the two processes take without weights and requests."""
    return ENGINE + vocabulary * VOCABULARY + LIBRARIES + SERVER


@dataclass(frozen=True)
class Dimensions:
    """What of a model decides its memory. ``stated``: False where a rule stands for a fact."""

    #: Bytes of the weights, as the engine holds them on the CPU.
    weights: int
    #: Bytes of the weights' file that is loaded.
    file: int
    #: Values that the KV cache keeps of one token: 2 x layers x KV heads x head size.
    kv_values: int
    head_size: int
    vocabulary: int
    #: Values of 32 bits that a step holds of one token.
    width: int
    #: Tokens that the model was made for; None: not known.
    context: int | None = None
    stated: bool = True


def step_width(hidden: int, feed_forward: int, heads: int, kv_heads: int, head_size: int) -> int:
    """Return ``Dimensions.width``: fitted to four models, 1 to 7 % off."""
    return hidden + 2 * feed_forward + 8 * (heads + 2 * kv_heads) * head_size


def matrix_memory(kind: str, values: int, *, tied: bool = False) -> int:
    """Return the bytes that a matrix of a GGUF takes when it is served. Raises KeyError."""
    return math.ceil((TIED if tied else LINEAR)[kind] * values)
