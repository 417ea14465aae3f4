"""What a model needs of memory and disk. Pure arithmetic; where it rests on a rule, it says so."""

from __future__ import annotations

import math

from local_opus.units import size_text
from local_opus.values import MemoryNeed, Model

#: Tokens of context that the catalog's memory figures are made for.
CONTEXT = 4096
#: Room that a file system and the files beside the weights take.
DISK_MARGIN = 1.05

#: Bytes of the OpenVINO IR for each byte of the GGUF it is made from. Measured with
#: openvino-genai 2026.4.1.0 by converting a model whose matrices had each type in turn: F16 16.0,
#: Q8_0 8.5, Q6_K 9.5, Q4_K 4.63, Q4_0 and Q4_1 4.5 bits a weight. A Q4_K_M file is a mixture of
#: Q4_K and Q6_K (a fifth to a quarter of the weights, by its size).
_CONVERTED = {"Q4_K_M": 1.2, "Q6_K": 1.45}
#: While a GGUF is converted, GenAI holds the new IR and compiles it: two copies and a rest, by the
#: same measurement (F16: three, its weights are widened).
_COPIES = {"F16": 3.25}
_COPIES_ELSE = 2.0
_CONVERSION_REST = 256 * 2**20

#: KV cache of one token where no source states a model's dimensions: rules, above the 112 KiB
#: (1.7B) and 160 KiB (14B) that are stated for the largest below and above one billion parameters.
_KV_RULE_SMALL = 112 * 2**10
_KV_RULE = 192 * 2**10
#: Beside weights and KV cache: the program, the libraries, the buffers of one request. A rule,
#: above the 270 MiB measured with smollm2-135m.
OVERHEAD = 512 * 2**20


def billions(model: Model) -> float:
    """Return the number of parameters in billions: "135M" is 0.135. Raises ValueError."""
    text = model.parameters.upper()
    return float(text[:-1]) * {"M": 0.001, "B": 1.0}[text[-1]]


def loaded_size(model: Model) -> int:
    """Return the bytes of the IR that is loaded: of the files, or of what a GGUF becomes."""
    if model.format != "gguf":
        return model.size
    return math.ceil(model.size * _CONVERTED.get(model.quantization, 1.0))


def kv_bytes_per_token(model: Model) -> int:
    """Return the KV cache of one token at f16: stated, or by the rule above."""
    stated = model.memory.kv_bytes_per_token
    if stated is not None:
        return stated
    return _KV_RULE_SMALL if billions(model) < 1 else _KV_RULE


def serving_estimate(model: Model) -> int:
    """Return the estimate that the catalog uses where no source states the memory."""
    return loaded_size(model) + CONTEXT * kv_bytes_per_token(model) + OVERHEAD


def estimated(model: Model) -> MemoryNeed:
    """Return the need of a model where no source states one: the estimate, and its formula."""
    size = loaded_size(model)
    factor = _CONVERTED.get(model.quantization) if model.format == "gguf" else None
    weights = f"GGUF x {factor:.2f} as IR" if factor else "weights"
    stated = model.memory.kv_bytes_per_token
    rule = " (a rule: dimensions not stated)" if stated is None else ""
    cache = f"{size_text(kv_bytes_per_token(model))} a token{rule}"
    return MemoryNeed(
        bytes=serving_estimate(model),
        estimated=True,
        source=f"estimated: {weights} {size_text(size)} + KV cache of {CONTEXT} tokens at {cache}"
        f" + {size_text(OVERHEAD)}",
        kv_bytes_per_token=stated,
    )


def serving_memory(model: Model, concurrency: int) -> int:
    """Return the bytes for serving: the catalog's figure, and KV cache for each request more."""
    return model.memory.bytes + (concurrency - 1) * CONTEXT * kv_bytes_per_token(model)


def conversion_memory(model: Model) -> int:
    """Return the bytes that making the IR takes; 0 for a model that is one already."""
    if model.format != "gguf":
        return 0
    copies = _COPIES.get(model.quantization, _COPIES_ELSE)
    return math.ceil(loaded_size(model) * copies) + _CONVERSION_REST


def disk(model: Model) -> int:
    """Return the bytes on disk: what is fetched, what is made from it, and a margin."""
    made = loaded_size(model) if model.format == "gguf" else 0
    return math.ceil((model.size + made) * DISK_MARGIN)
