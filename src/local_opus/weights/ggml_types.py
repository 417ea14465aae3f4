"""GGUF's tables: value types, tensor types, file types.

Source: ggml ``docs/gguf.md`` and ``gguf-py/gguf/constants.py`` of ggml-org/llama.cpp. Left out:
Q8_1 and Q8_K, which live only inside a computation, and types that ggml removed (4, 5, 31-33,
36-38). A file that claims one of them is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class TensorType:
    """A tensor type: ``block`` values are stored in ``size`` bytes.

    ``floats``: the floating-point numbers in a block, by form and place. They are the values of a
    plain type and the scales of a quantized one.
    """

    name: str
    block: int
    size: int
    floats: tuple[tuple[str, int], ...] = ()


#: Places of the scales in a block: the structs in ggml's ``ggml-common.h``. Left out are types
#: whose scales are packed among other bits (IQ1_M, NVFP4).
_FLOATS: dict[str, tuple[tuple[str, int], ...]] = {
    "F64": (("f64", 0),),
    "F32": (("f32", 0),),
    "F16": (("f16", 0),),
    "BF16": (("bf16", 0),),
    "MXFP4": (("e8m0", 0),),
    **dict.fromkeys(
        ("Q4_0", "Q5_0", "Q8_0", "IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"),
        (("f16", 0),),
    ),
    **dict.fromkeys(("IQ4_NL", "IQ4_XS"), (("f16", 0),)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (("f16", 0), ("f16", 2))),
    "Q2_K": (("f16", 80), ("f16", 82)),
    "Q3_K": (("f16", 108),),
    "Q6_K": (("f16", 208),),
    "TQ1_0": (("f16", 52),),
    "TQ2_0": (("f16", 64),),
}

TENSOR_TYPES: dict[int, TensorType] = {
    number: TensorType(name, block, size, _FLOATS.get(name, ()))
    for number, name, block, size in (
        (0, "F32", 1, 4),
        (1, "F16", 1, 2),
        (2, "Q4_0", 32, 18),
        (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34),
        (10, "Q2_K", 256, 84),
        (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (16, "IQ2_XXS", 256, 66),
        (17, "IQ2_XS", 256, 74),
        (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18),
        (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82),
        (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1),
        (25, "I16", 1, 2),
        (26, "I32", 1, 4),
        (27, "I64", 1, 8),
        (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2),
        (34, "TQ1_0", 256, 54),
        (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17),
        (40, "NVFP4", 64, 36),
        (41, "Q1_0", 128, 18),
    )
}

TYPES_BY_NAME = {kind.name: kind for kind in TENSOR_TYPES.values()}

#: Value types of the key-value list that have a fixed size; 8 is a string, 9 an array.
SCALARS: dict[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<B"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
STRING = 8
ARRAY = 9
