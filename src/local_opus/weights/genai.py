"""Which GGUF files OpenVINO GenAI 2026.4.1 can load, known before it is asked.

Measured with that version on the CPU, one-layer models of each kind; it answers with "map::at" or
"Unsupported quantization type" where this module names the key or the tensor.
"""

from __future__ import annotations

from local_opus.weights.ggml_types import TENSOR_TYPES
from local_opus.weights.gguf_info import GgufInfo
from local_opus.weights.structure import printable

ARCHITECTURES = ("llama", "qwen2", "qwen3")
MATRIX_TYPES = ("F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K")
#: Norms and biases are stored as F32 in every file that loads.
VECTOR_TYPES = ("F32", *MATRIX_TYPES)
_VALUES = ("general.file_type", "tokenizer.ggml.pre")
_MODEL_VALUES = (
    "block_count",
    "attention.head_count",
    "embedding_length",
    "attention.layer_norm_rms_epsilon",
)
_ARRAYS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")


#: By the name of a file's type: the types of its matrices that are not the one it is named after
#: (``llama_tensor_get_type`` in llama.cpp's ``llama-quant.cpp``).
_MIXED = {
    "Q2_K_S": ("Q2_K", "Q4_K"),
    "Q3_K_S": ("Q3_K",),
    "Q3_K_M": ("Q3_K", "Q4_K", "Q5_K"),
    "Q3_K_L": ("Q3_K", "Q5_K"),
    "Q4_K_S": ("Q4_K", "Q5_K"),
    "Q4_K_M": ("Q4_K", "Q6_K"),
    "Q5_K_S": ("Q5_K",),
    "Q5_K_M": ("Q5_K", "Q6_K"),
}


def file_type_problem(name: str) -> str | None:
    """Return why GenAI 2026.4.1 can't load a GGUF of this type, e.g. Q5_K_M, in one line.

    None when it can, or when the name is of no known type: then only the file itself tells.
    """
    known = {kind.name for kind in TENSOR_TYPES.values()}
    types = _MIXED.get(name, (name,) if name in known else ())
    unread = [kind for kind in types if kind not in MATRIX_TYPES]
    if not unread:
        return None
    return f"a GGUF of the type {name} holds {unread[0]} tensors, which OpenVINO GenAI can't read"


def genai_problem(info: GgufInfo) -> str | None:
    """Return why GenAI 2026.4.1 can't load this file, in one line; None when it can."""
    if info.architecture not in ARCHITECTURES:
        return (
            f"the architecture {printable(str(info.architecture))} is none of "
            f"{', '.join(ARCHITECTURES)}"
        )
    if info.tokenizer_model != "gpt2":
        return f"the tokenizer {printable(str(info.tokenizer_model))} is not gpt2"
    needed = (*_VALUES, *(f"{info.architecture}.{key}" for key in _MODEL_VALUES))
    missing = [key for key in needed if key not in info.values]
    missing += [key for key in _ARRAYS if key not in info.arrays]
    if missing:
        return f"the file lacks {', '.join(missing)}"
    for tensor in info.tensors:
        is_matrix = sum(1 for dim in tensor.dims if dim > 1) > 1
        if tensor.type not in (MATRIX_TYPES if is_matrix else VECTOR_TYPES):
            return f"tensor {printable(tensor.name)} has the type {tensor.type}"
    return None
