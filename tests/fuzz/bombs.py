"""Files as large as a check reads them, built to cost as much as they can."""

from __future__ import annotations

import json
import lzma
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from io import BytesIO

import targets

import builders
from local_opus.weights import (
    archives,
    gguf,
    ir,
    manifest,
    protobuf,
    safetensors,
    sentencepiece,
    tokenizer,
)

MIB = 1 << 20


def _many_strings() -> bytes:
    """A GGUF whose header is one array of empty strings."""
    count = (gguf.MAX_HEADER - 200) // 8
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + builders.gguf_string("tokens")
    return head + struct.pack("<IIQ", builders.ARRAY, builders.STRING, count) + bytes(8 * count)


def _many_keys() -> bytes:
    pairs = b"".join(
        builders.gguf_string(f"{n:x}") + struct.pack("<IB", 0, 1) for n in range(gguf.MAX_KEYS)
    )
    return b"GGUF" + struct.pack("<IQQ", 3, 0, gguf.MAX_KEYS) + pairs


def _long_strings() -> bytes:
    text = "\U0001f600" * (gguf.MAX_STRING // 4 - 64)
    return builders.gguf_header({f"k{n}": text for n in range(15)}, [])


def _many_tensors() -> bytes:
    infos = [builders.tensor_info(f"{n:x}", (8,), 0, 32 * n) for n in range(gguf.MAX_TENSORS)]
    return builders.pad(builders.gguf_header({}, infos)) + bytes(32 * gguf.MAX_TENSORS)


def _header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _fill(begin: bytes, part: bytes, end: bytes, size: int) -> bytes:
    return (
        begin
        + part * ((size - len(begin) - len(end) - len(part)) // len(part))
        + part.rstrip(b",")
        + end
    )


def _tensor_list() -> bytes:
    """A sound safetensors with as many tensors as the header holds."""
    parts, end = [], 0
    size = 2
    while True:
        part = f'"{len(parts):x}":{{"dtype":"F32","shape":[1],"data_offsets":[{end},{end + 4}]}}'
        size += len(part) + 1
        if size > safetensors.MAX_HEADER:
            break
        parts.append(part)
        end += 4
    return _header(("{" + ",".join(parts) + "}").encode()) + bytes(end)


def _constants() -> bytes:
    part = b'<layer type="Const"><data element_type="u8" shape="1" offset="0" size="1"/></layer>'
    return b"<net>" + part * min(ir.MAX_XML // len(part) - 1, ir.MAX_ELEMENTS // 2 - 2) + b"</net>"


def _attributes() -> bytes:
    words = b" ".join(b'a%d=""' % n for n in range(ir.MAX_XML // 16))
    return b"<net " + words[: ir.MAX_XML - 100].rpartition(b" ")[0] + b"/>"


def _same_member_again() -> bytes:
    """A zip whose list names one deflated array again and again."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\1\0" + bytes(4 << 20))
    data = buffer.getvalue()
    at = data.rfind(b"PK\x01\x02")
    end = data.rfind(b"PK\x05\x06")
    entry, count = data[at:end], min(65535, archives.MAX_LIST // (end - at))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, at, 0)
    return data[:at] + entry * count + tail


def _tar() -> bytes:
    block = bytearray(512)
    block[:3], block[257:263] = b"abc", b"ustar\0"
    return bytes(block) * archives.MAX_MEMBERS


def _xz() -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 120 << 20}]
    return lzma.compress(bytes(1000), filters=filters)


def _unknown_keys(begin: str, part: str, end: str) -> bytes:
    size = manifest.MAX_SIZE - len(begin) - len(end) - 40
    count = size // (len(part % 0xFFFFFF) + 1)
    return (begin + ",".join(part % n for n in range(count)) + end).encode()


def _named(name: str, data: bytes) -> bytes:
    return bytes([targets.BESIDE.index(name)]) + data


def _fields(most: int) -> bytes:
    """A message of as many fields as are walked, of two bytes each."""
    count = min(protobuf.MAX_FIELDS - 10, most // 2 - 8)
    return builders.field(1, 8) + b"\x10\x00" * (count - 1)


def _graph_of_tensors() -> bytes:
    tensor = builders.onnx_tensor("w", (1,), raw=bytes(4))
    return builders.onnx_bytes(*([tensor] * (protobuf.MAX_FIELDS // 6)))


def _pieces() -> bytes:
    piece = builders.field(1, builders.field(1, "a"))
    return piece * min(sentencepiece.MAX_SIZE // len(piece), protobuf.MAX_FIELDS // 2 - 4)


def _vocabulary() -> bytes:
    """A sound tokenizer.json as long as one is read."""
    count = tokenizer.MAX_JSON // 20
    vocab = ",".join(f'"{n:x}":{n}' for n in range(count))
    return f'{{"model":{{"type":"BPE","vocab":{{{vocab}}},"merges":[]}}}}'.encode()


_JSON_SIZE = tokenizer.MAX_JSON - 100
_OPEN = json.dumps({"schema_version": 1, "manifest_sha256": "ab" * 32, "files": {}})[:-2]
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gguf: an array of empty strings": ("gguf", _many_strings),
    "gguf: 65,536 keys": ("gguf", _many_keys),
    "gguf: 60 MB of string values": ("gguf", _long_strings),
    "gguf: 65,536 tensors": ("gguf", _many_tensors),
    "safetensors: all tensors that fit": ("safetensors", _tensor_list),
    "safetensors: empty lists": ("safetensors", lambda: _header(_fill(b'{"__metadata__":[', b"[],", b"]}", safetensors.MAX_HEADER))),
    "safetensors: nested objects": ("safetensors", lambda: _header(_fill(b'{"__metadata__":[', b'{"a":{}},', b"]}", safetensors.MAX_HEADER))),
    "safetensors: numbers": ("safetensors", lambda: _header(_fill(b'{"__metadata__":[', b"1.5,", b"]}", safetensors.MAX_HEADER))),
    "ir: all constants that fit": ("ir", _constants),
    "ir: attributes": ("ir", _attributes),
    "ir: a long text": ("ir", lambda: b"<net>" + b"x" * (ir.MAX_XML - 20) + b"</net>"),
    "zip: one array in every entry": ("zip", _same_member_again),
    "tar: 65,536 members": ("tar", _tar),
    "compressed: a dictionary of 120 MiB": ("compressed", _xz),
    "npy: a header of spaces": ("npy", lambda: b"\x93NUMPY\2\0" + struct.pack("<I", 65536) + b"{" + b" " * 65535),
    "manifest: unknown keys": ("manifest", lambda: _unknown_keys("{", '"%06x":0', "}")),
    "manifest: bad files": ("manifest", lambda: _unknown_keys('{"files":[', '{"%06x":0}', "]}")),
    "manifest: nested": ("manifest", lambda: b"[" * (manifest.MAX_SIZE - 1)),
    "stamps: bad files": ("stamps", lambda: _unknown_keys(_OPEN, '"%06x":0', "}}")),
    "onnx: all fields that are walked": ("onnx", lambda: _fields(1 << 30)),
    "onnx: tensors": ("onnx", _graph_of_tensors),
    "sentencepiece: all pieces that fit": ("sentencepiece", _pieces),
    "beside: a vocabulary": ("beside", lambda: _named("tokenizer.json", _vocabulary())),
    "beside: empty lists": ("beside", lambda: _named("any.json", _fill(b"[", b"[],", b"]", _JSON_SIZE))),
    "beside: objects": ("beside", lambda: _named("any.json", _fill(b"[", b'{"a":{}},', b"]", _JSON_SIZE))),
    "beside: ranks": ("beside", lambda: _named("gpt2.tiktoken", b"YQ== 1\n" * (tokenizer.MAX_LINES // 7 - 1))),
    "beside: empty lines": ("beside", lambda: _named("vocab.txt", b"\n" * (tokenizer.MAX_LINES - 1))),
    "beside: a template": ("beside", lambda: _named("chat_template.jinja", b"x" * ((1 << 20) - 1))),
    "stamps: unknown keys": ("stamps", lambda: _unknown_keys("{", '"%06x":0', "}")),
}  # fmt: skip


#: Bombs that take more than 2 s or 200 MiB, as measured with Python 3.11 on a 2-core machine that did
#: other work too; the tests are of all others.
OVER = {
    "gguf: an array of empty strings": "1.3 to 4.9 s",
    "safetensors: all tensors that fit": "5.6 s, 280 MiB",
    "safetensors: empty lists": "2.4 s, 400 MiB",
    "safetensors: nested objects": "4.2 s, 470 MiB",
    "safetensors: numbers": "1.8 s, 200 MiB",
    "ir: all constants that fit": "16 s",
    "zip: one array in every entry": "8.7 s",
    "manifest: unknown keys": "2.1 s, 390 MiB",
    "onnx: all fields that are walked": "4.3 s",
    "onnx: tensors": "6.7 s",
    "sentencepiece: all pieces that fit": "4.4 s",
    "beside: a vocabulary": "3.3 s, 540 MiB",
    "beside: empty lists": "4.3 s, 1.2 GiB",
    "beside: objects": "5.9 s, 1.5 GiB",
    "beside: ranks": "2.0 s, 450 MiB",
    "beside: empty lines": "1.5 s, 490 MiB",
    "stamps: bad files": "2.5 s, 190 MiB",
    "stamps: unknown keys": "0.7 s, 210 MiB",
}


def measure(name: str) -> tuple[float, int]:
    """Return seconds of processor time and bytes that one bomb takes, in this process."""
    target, make = BOMBS[name]
    data = make()
    targets.TARGETS[target].ask(targets.TARGETS[target].seeds[0])
    before, begin = _now(), time.process_time()
    targets.TARGETS[target].ask(data)
    seconds = time.process_time() - begin
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before


def _now() -> int:
    """Return the bytes in memory now; the mark of the most so far is set back."""
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5\n")
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096
