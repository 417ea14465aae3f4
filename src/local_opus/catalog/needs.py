"""What a model needs of memory and disk. Pure arithmetic; where it rests on a rule, it says so.

Two figures stand side by side. The catalog's (``Model.memory``) is what a source states, else the
rough estimate of ``serving_estimate``: for one request of 4096 tokens, as each source counts it
(often with the pages of the weights' file, which the kernel can drop). Whether a model fits is
decided by ``serving``: for this program's own engine and server, by what they were measured to
take, at the context and the requests that a profile allows. The two are not of one kind, so a
stated figure does not replace the computed one; it is shown beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from local_opus.catalog import dimensions
from local_opus.catalog import engine_memory as engine
from local_opus.catalog.engine_memory import Dimensions
from local_opus.units import size_text
from local_opus.values import Device, DiskFacts, DiskFit, MemoryFit, MemoryNeed, MemoryPart, Model

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
#: same measurement (F16: three, its weights are widened). Of 11 generated models 0.9 to 1.1 times
#: what was measured.
_COPIES = {"F16": 3.0}
_COPIES_ELSE = 2.0
_CONVERSION_REST = 144 * 2**20

#: KV cache of one token where no source states a model's dimensions: rules, above the 112 KiB
#: (1.7B) and 160 KiB (14B) that are stated for the largest below and above one billion parameters.
_KV_RULE_SMALL = 112 * 2**10
_KV_RULE = 192 * 2**10
#: In ``serving_estimate``, beside weights and KV cache: the program, the libraries, the buffers of
#: one request. A rule, above the 270 MiB measured with smollm2-135m.
OVERHEAD = 512 * 2**20
#: Tokens of the NPU's one request: MAX_PROMPT_LEN 1024 and MIN_RESPONSE_LEN 128, OpenVINO GenAI's
#: defaults.
NPU_CONTEXT = 1024 + 128


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


@dataclass(frozen=True)
class Serving:
    """How a model is to be served; as a profile's [server] and [openvino] say it."""

    #: Requests that are computed at the same time.
    requests: int = 128
    #: Tokens of prompt and answer of each; None: as many as the model was made for.
    context: int | None = None
    cache_size_gb: int = 1
    #: OpenVINO's KV_CACHE_PRECISION; None: as the device's plugin chooses it.
    kv_precision: str | None = None
    #: Tokens that one step computes at most: the scheduler's max_num_batched_tokens.
    batch: int = engine.BATCH


#: The name of the part that grows with requests and context.
KV_CACHE = "KV cache"
#: The name of the part that is there without any weights.
PROGRAMS = "programs"
#: What the server does where nothing else is said; the profiles' defaults are these.
DEFAULT_SERVING = Serving()


def serving_memory(model: Model, settings: Serving = DEFAULT_SERVING) -> int:
    """Return the bytes of ``serving`` on the CPU."""
    return serving(model, settings).bytes


def serving(model: Model | Dimensions, settings: Serving, device: Device = Device.CPU) -> MemoryFit:
    """Return the memory that serving takes at its peak: engine and server, weights, KV cache.

    On the CPU the figures were measured (see ``engine_memory``). On the GPU and the NPU they are
    rules, for no such device was there: the weights as they lie in the file, the KV cache in 16
    bits; the NPU holds one request of MAX_PROMPT_LEN + MIN_RESPONSE_LEN tokens. Raises ValueError
    for a KV precision that is not known.
    """
    sized = dimensions_of(model) if isinstance(model, Model) else model
    if device is Device.NPU:
        settings = Serving(1, NPU_CONTEXT, settings.cache_size_gb, "f16")
    context = min((n for n in (settings.context, sized.context) if n), default=None)
    cache, requests = _kv_cache(sized, settings, context, device)
    # Other devices are said to widen nothing.
    weights = sized.weights if device is Device.CPU else sized.file
    tokens = settings.requests * context if context else None
    buffers = engine.buffers(sized.width, sized.vocabulary, requests, tokens, settings.batch)
    parts = (
        MemoryPart(name="weights", bytes=weights),
        cache,
        MemoryPart(name="buffers", bytes=buffers),
        MemoryPart(
            name=PROGRAMS,
            bytes=engine.engine_memory(sized.vocabulary),
            detail="engine, tokenizer and server",
        ),
    )
    estimated = device is not Device.CPU or not sized.stated
    whole = sum(part.bytes for part in parts)
    return MemoryFit(device=device, parts=parts, bytes=whole, estimated=estimated)


def on_card(need: MemoryFit) -> MemoryFit:
    """Return what lies in a card's own memory: not the programs, which lie in the machine's."""
    parts = tuple(part for part in need.parts if part.name != PROGRAMS)
    whole = sum(part.bytes for part in parts)
    return need.model_copy(update={"parts": parts, "bytes": whole})


def dimensions_of(model: Model) -> Dimensions:
    """Return the dimensions of a catalog's model, by rule where the catalog does not state them."""
    return dimensions.by_rule(model, billions(model), loaded_size(model))


def _kv_cache(
    sized: Dimensions, settings: Serving, context: int | None, device: Device
) -> tuple[MemoryPart, int]:
    """Return the KV cache when all allowed requests are in work, and how many those are."""
    precision = settings.kv_precision or ("u8" if device is Device.CPU else "f16")
    token = sized.kv_values * engine.kv_value_bytes(precision, sized.head_size)
    room = engine.kv_capacity(settings.cache_size_gb, precision)
    requests = min(settings.requests, max(1, int(room / (token * engine.BLOCK))))
    blocks = math.ceil(context / engine.BLOCK) if context else None
    wanted = math.ceil(settings.requests * blocks * engine.BLOCK * token) if blocks else None
    if context and wanted is not None and wanted <= room:
        requests = settings.requests
        plural = "" if requests == 1 else "s"
        detail = f"{requests} request{plural} x {context:,} tokens at {precision}"
        return MemoryPart(name=KV_CACHE, bytes=wanted, detail=detail), requests
    detail = f"when full: {int(room / token):,} tokens of all requests at {precision}"
    return MemoryPart(name=KV_CACHE, bytes=room, detail=detail), requests


def conversion_memory(model: Model) -> int:
    """Return the bytes that making the IR takes; 0 for a model that is one already."""
    if model.format != "gguf":
        return 0
    return conversion_bytes(loaded_size(model), model.quantization)


def conversion_bytes(loaded: int, quantization: str) -> int:
    """Return the bytes that making an IR of ``loaded`` bytes takes."""
    return math.ceil(loaded * _COPIES.get(quantization, _COPIES_ELSE)) + _CONVERSION_REST


def disk(model: Model) -> int:
    """Return the bytes on disk: what is fetched, what is made from it, and a margin."""
    return math.ceil((model.size + converted_size(model)) * DISK_MARGIN)


def converted_size(model: Model) -> int:
    """Return the bytes of the IR that is made from a GGUF; 0 for a model that is one already."""
    return loaded_size(model) if model.format == "gguf" else 0


def disk_fit(model: Model, facts: DiskFacts, *, stored: bool, environment: int) -> DiskFit:
    """Return what comes onto the disk of the store: original, conversion, environment."""
    fetched, converted = (0, 0) if stored else (model.size, converted_size(model))
    weights = 0 if stored else disk(model)
    return DiskFit(
        fetched=fetched,
        converted=converted,
        margin=weights - fetched - converted,
        environment=environment,
        bytes=weights + environment,
        free=facts.free,
        path=facts.path,
    )
