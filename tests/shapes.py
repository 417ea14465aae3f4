"""Writes GGUF files of the shapes that real models have, with numbers of no meaning.

What serving takes of memory depends on a model's dimensions and on how its weights are packed, not
on what they say. The tokenizer is of the usual kind and size: every byte, then pairs of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builders import gguf_header, pad, tensor_info

#: Type numbers of GGUF, values of a block, bytes of a block, and where its scales (f16) stand.
TYPES = {
    "F32": (0, 1, 4, ()),
    "F16": (1, 1, 2, ()),
    "Q4_0": (2, 32, 18, (0,)),
    "Q4_1": (3, 32, 20, (0, 2)),
    "Q8_0": (8, 32, 34, (0,)),
    "Q4_K": (12, 256, 144, (0, 2)),
    "Q6_K": (14, 256, 210, (208,)),
}
#: A scale so small that no sum of the numbers overflows.
SCALE = 2.0**-12
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q4_K": 15, "Q6_K": 18}


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model. ``linear`` and ``embedding`` are types of GGUF tensors."""

    name: str
    architecture: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    linear: str = "Q4_0"
    embedding: str = "Q8_0"
    #: Whether the output is the embedding's own matrix.
    tied: bool = True
    context: int = 8192

    @property
    def kv_values(self) -> int:
        """Values that the KV cache keeps of one token."""
        return 2 * self.layers * self.kv_heads * self.head_size


def _alphabet() -> list[str]:
    """Byte-level BPE's letters for the 256 bytes, by byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _tokens(count: int) -> tuple[list[str], list[str], list[int]]:
    """Tokens, merges and the tokens' kinds; " a" is one token, and joins no other."""
    letters = _alphabet()
    space, word = letters[32], letters[32] + "a"
    wanted = count - len(SPECIAL) - len(letters)
    pairs = [(space, "a")] + [
        (a, b) for a, b in itertools.product(letters, letters) if (a, b) != (space, "a")
    ]
    more = (
        (a + b, c)
        for c, (a, b) in itertools.product(letters, pairs)
        if word not in {a + b, b + c}
    )  # fmt: skip
    merged = list(itertools.islice(itertools.chain(pairs, more), wanted))
    tokens = [*SPECIAL, *letters, *(a + b for a, b in merged)]
    assert len(set(tokens)) == len(tokens) == count
    kinds = [3] * len(SPECIAL) + [1] * (count - len(SPECIAL))
    return tokens, [f"{a} {b}" for a, b in merged], kinds


def _keys(shape: Shape) -> dict[str, object]:
    arch = shape.architecture
    tokens, merges, kinds = _tokens(shape.vocabulary)
    return {
        "general.architecture": arch,
        "general.name": shape.name,
        "general.file_type": FILE_TYPES[shape.linear],
        f"{arch}.block_count": shape.layers,
        f"{arch}.context_length": shape.context,
        f"{arch}.embedding_length": shape.hidden,
        f"{arch}.feed_forward_length": shape.feed_forward,
        f"{arch}.attention.head_count": shape.heads,
        f"{arch}.attention.head_count_kv": shape.kv_heads,
        f"{arch}.attention.key_length": shape.head_size,
        f"{arch}.attention.value_length": shape.head_size,
        f"{arch}.rope.freq_base": 10000.0,
        f"{arch}.rope.dimension_count": shape.head_size,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{arch}.vocab_size": shape.vocabulary,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm" if arch == "llama" else "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": CHATML,
    }


def _tensors(shape: Shape) -> list[tuple[str, tuple[int, ...], str]]:
    hidden, wide = shape.hidden, shape.heads * shape.head_size
    narrow = shape.kv_heads * shape.head_size
    found = [
        ("token_embd.weight", (hidden, shape.vocabulary), shape.embedding),
        ("output_norm.weight", (hidden,), "F32"),
    ]
    if not shape.tied:
        found.append(("output.weight", (hidden, shape.vocabulary), shape.embedding))
    for number in range(shape.layers):
        layer = [
            ("attn_norm.weight", (hidden,), "F32"),
            ("ffn_norm.weight", (hidden,), "F32"),
            ("attn_q.weight", (hidden, wide), shape.linear),
            ("attn_k.weight", (hidden, narrow), shape.linear),
            ("attn_v.weight", (hidden, narrow), shape.linear),
            ("attn_output.weight", (wide, hidden), shape.linear),
            ("ffn_gate.weight", (hidden, shape.feed_forward), shape.linear),
            ("ffn_up.weight", (hidden, shape.feed_forward), shape.linear),
            ("ffn_down.weight", (shape.feed_forward, hidden), shape.linear),
        ]
        if shape.architecture == "qwen2":
            layer += [
                ("attn_q.bias", (wide,), "F32"),
                ("attn_k.bias", (narrow,), "F32"),
                ("attn_v.bias", (narrow,), "F32"),
            ]
        if shape.architecture == "qwen3":
            layer += [
                ("attn_q_norm.weight", (shape.head_size,), "F32"),
                ("attn_k_norm.weight", (shape.head_size,), "F32"),
            ]
        found += [(f"blk.{number}.{name}", dims, kind) for name, dims, kind in layer]
    return found


def _size(dims: tuple[int, ...], kind: str) -> int:
    _, block, size, _ = TYPES[kind]
    return int(np.prod(dims)) // block * size


def _data(dims: tuple[int, ...], kind: str, random: np.random.Generator) -> bytes:
    """Numbers that differ in every tensor: equal constants would be stored once."""
    _, block, size, scales = TYPES[kind]
    count = int(np.prod(dims)) // block
    if kind == "F32":
        return np.ones(count, np.float32).tobytes()
    if kind == "F16":
        return (random.integers(-512, 512, count) * SCALE).astype(np.float16).tobytes()
    blocks = random.integers(0, 256, (count, size), np.uint8)
    for place in scales:  # of different sizes: equal scales would be stored once, too
        scale = (SCALE * random.uniform(0.5, 1, count)).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8).reshape(count, 2)
    return blocks.tobytes()


def write_gguf(shape: Shape, path: Path) -> int:
    """Write the file, tensor by tensor; return its bytes."""
    tensors = _tensors(shape)
    infos, offset = [], 0
    for name, dims, kind in tensors:
        infos.append(tensor_info(name, dims, TYPES[kind][0], offset))
        offset += -(-_size(dims, kind) // 32) * 32
    random = np.random.default_rng(7)
    with path.open("wb") as stream:
        stream.write(pad(gguf_header(_keys(shape), infos)))
        for _, dims, kind in tensors:
            stream.write(pad(_data(dims, kind, random)))
    return path.stat().st_size
