"""What the files beside an OpenVINO IR say of a model, and which files it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from local_opus.errors import MachineCannotError
from local_opus.pinning.draft import MAX_DIMENSION, MAX_KV, Traits, count_text, told_by
from local_opus.values import Device
from local_opus.weights.structure import printable

_STEMS = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")
CONFIG, OPTIONS = "config.json", "openvino_config.json"
#: What the engine loads; an IR made from a GGUF has nothing else.
GRAPHS = tuple(f"{stem}.{suffix}" for stem in _STEMS for suffix in ("xml", "bin"))
#: What a repository of an IR has beside that.
CONFIGS = (CONFIG, "generation_config.json", "tokenizer_config.json")
#: What is read where it is there, and what the exporter leaves beside it.
OPTIONAL = (
    *("chat_template.jinja", "chat_template.json", "added_tokens.json", "merges.txt"),
    *(OPTIONS, "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "vocab.json"),
)
_FORMS = re.compile(r"(?<![A-Za-z0-9])(int4|int8|fp16|bf16|fp32|nf4)(?![A-Za-z0-9])", re.IGNORECASE)
#: Bits of a weight with its scales, by form: what parameters are estimated by.
_BITS = {"int4": 4.5, "nf4": 4.5, "int8": 8.5, "fp16": 16.0, "bf16": 16.0, "fp32": 32.0}
_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def is_ir(paths: Collection[str]) -> bool:
    """Whether a folder of these files means to be an IR of a language model."""
    return "openvino_model.xml" in paths


def files_of(where: str, paths: Collection[str], required: Collection[str]) -> list[str]:
    """Return the files that an IR at ``where`` consists of, sorted.

    Raises MachineCannotError where one of ``required`` is missing.
    """
    lacking = [path for path in required if path not in paths]
    if lacking:
        raise MachineCannotError(
            f"{printable(where)}: its OpenVINO IR lacks {', '.join(lacking)}",
            "Export it anew with optimum-intel, or use another one.",
        )
    return sorted({*GRAPHS, *CONFIGS, *OPTIONAL} & {*paths})


def traits(
    name: str, weights: int, texts: Mapping[str, bytes], context: int | None = None
) -> Traits:
    """Return what is known of the IR ``name`` whose ``openvino_model.bin`` has ``weights`` bytes.

    ``texts`` are the contents of CONFIG and OPTIONS, as far as they are there; ``context`` is the
    context length where something else tells it. Raises MachineCannotError where nothing does.
    """
    config = _object(texts.get(CONFIG, b""))
    tokens = next((found for key in _CONTEXT if (found := _number(config, key))), context)
    if tokens is None:
        raise MachineCannotError(
            f"{printable(name)}: {CONFIG} does not tell the context length"
            f" ({_CONTEXT[0]}), without which no server can be set up",
            "Add it there, or use another IR.",
        )
    form = _form(name, _object(texts.get(OPTIONS, b"")))
    told, caveats = told_by(name), []
    if told is None:
        told = count_text(int(weights * 8 / _BITS.get(form.lower().partition("_")[0], 8.5)))
        caveats.append(f"No source states the parameters: {told} is estimated by the size.")
    family = config.get("model_type")
    return Traits(
        name=printable(name),
        family=printable(family) if isinstance(family, str) and family else "unknown",
        parameters=told,
        format="openvino-ir",
        quantization=form,
        context_length=tokens,
        # Which IR an NPU compiles, its files do not say.
        devices=(Device.CPU, Device.GPU),
        kv_bytes=_kv_bytes(config),
        caveats=tuple(caveats),
    )


def _form(name: str, options: Mapping[str, object]) -> str:
    """Return the form of the weights, by the exporter's settings or by the name."""
    dtype, settings = options.get("dtype"), options.get("quantization_config")
    found = _FORMS.fullmatch(dtype) if isinstance(dtype, str) else None
    found = found or _FORMS.search(name)
    if found is None:
        return "unknown"
    symmetric = settings.get("sym") if isinstance(settings, dict) else None
    told = isinstance(symmetric, bool)
    return found[1].upper() + (f"_{'SYM' if symmetric else 'ASYM'}" if told else "")


def _object(data: bytes) -> Mapping[str, object]:
    """Return a JSON object; an empty one where the bytes are none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(config: Mapping[str, object], key: str) -> int | None:
    value = config.get(key)
    plain = isinstance(value, int) and not isinstance(value, bool)
    return value if plain and isinstance(value, int) and 0 < value <= MAX_DIMENSION else None


def _kv_bytes(config: Mapping[str, object]) -> int | None:
    """Return the bytes of keys and values of a token at f16; None where a dimension is missing."""
    layers, heads = _number(config, "num_hidden_layers"), _number(config, "num_attention_heads")
    width = _number(config, "hidden_size")
    if layers is None or heads is None or width is None:
        return None
    kv_heads = _number(config, "num_key_value_heads") or heads
    head = _number(config, "head_dim") or width // heads
    total = 2 * 2 * layers * kv_heads * head
    return total if 0 < total <= MAX_KV else None
