"""What the header of a GGUF says of a model."""

from __future__ import annotations

import re

from local_opus.errors import MachineCannotError
from local_opus.pinning.draft import MAX_DIMENSION, MAX_KV, Traits, count_text
from local_opus.values import Device
from local_opus.weights.genai import ARCHITECTURES, genai_problem
from local_opus.weights.gguf import GgufInfo
from local_opus.weights.structure import printable

#: ``general.file_type`` of the files that can be served (llama.cpp, enum llama_ftype).
_FILE_TYPES = {1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 14: "Q4_K_S", 15: "Q4_K_M", 18: "Q6_K"}
#: One of a GGUF in several files.
SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf\Z")
_Q6_K = (
    "Holds Q6_K tensors: they load on the CPU (measured with synthetic files); openvino.genai PR"
    " #2095 reported problems on the GPU, so it is offered for the CPU alone."
)
_NO_TEMPLATE = "The file has no chat template: messages are put together without one."


def traits(info: GgufInfo, file: str) -> Traits:
    """Return what a header says. Raises MachineCannotError where GenAI can't load the file."""
    if (problem := genai_problem(info)) is not None:
        raise MachineCannotError(
            f"{printable(file)}: OpenVINO GenAI can't load this GGUF: {problem}",
            f"Choose a GGUF of {', '.join(ARCHITECTURES[:-1])} or {ARCHITECTURES[-1]} in Q4_0,"
            " Q4_1, Q4_K_M, Q6_K, Q8_0 or F16, or a repository made for OpenVINO.",
        )
    q6 = any(tensor.type == "Q6_K" for tensor in info.tensors)
    caveats = [*([_Q6_K] if q6 else []), *([] if info.has_chat_template else [_NO_TEMPLATE])]
    stem = file.rpartition("/")[2].removesuffix(".gguf")
    return Traits(
        name=printable(stem),
        family=str(info.architecture),
        parameters=count_text(info.parameters),
        format="gguf",
        quantization=_FILE_TYPES.get(info.number("general.file_type") or 0, info.quantization),
        context_length=_dimension(info, "context_length"),
        devices=(Device.CPU,) if q6 else (Device.CPU, Device.GPU),
        kv_bytes=_kv_bytes(info),
        caveats=tuple(caveats),
    )


def _dimension(info: GgufInfo, key: str) -> int | None:
    value = info.number(f"{info.architecture}.{key}")
    return value if value is not None and 0 < value <= MAX_DIMENSION else None


def _kv_bytes(info: GgufInfo) -> int | None:
    """Return the bytes of keys and values of one token at f16; None where a dimension is missing.

    Without a number of KV heads every head has its own; without lengths they are the width of a
    head (docs/gguf.md).
    """
    layers, heads = _dimension(info, "block_count"), _dimension(info, "attention.head_count")
    width = _dimension(info, "embedding_length")
    if layers is None or heads is None or width is None:
        return None
    own = f"{info.architecture}.attention.head_count_kv"
    if own in info.arrays:  # another number in each layer
        return None
    kv_heads = _dimension(info, "attention.head_count_kv") if own in info.values else heads
    key = _dimension(info, "attention.key_length") or width // heads
    value = _dimension(info, "attention.value_length") or width // heads
    total = 2 * layers * (kv_heads or 0) * (key + value)
    return total if 0 < total <= MAX_KV else None
