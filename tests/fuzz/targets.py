"""What is fuzzed, and what must be true of every answer, whatever the bytes.

A target takes bytes and gives what the code under test answers, in a form that can be compared.
``run`` asks twice and raises ``BrokenError`` where a promise does not hold; any other exception is one
that the code should not have raised. Used by the tests here and by bench/fuzz_inspectors.py.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

import memory_folder

import builders
from local_opus.errors import LocalOpusError
from local_opus.values import Verdict
from local_opus.weights import (
    archives,
    arrays,
    gguf,
    ir,
    onnx,
    pickles,
    safetensors,
    sentencepiece,
    tokenizer,
)
from local_opus.weights import manifest as manifests
from local_opus.weights.classify import HEAD, classify, placeholder_reason, unsafe_reason
from local_opus.weights.finding import Finding
from local_opus.weights.folder import judge_folder
from local_opus.weights.genai import genai_problem
from local_opus.weights.inspect import Inspector, inspect_file
from local_opus.weights.structure import Refusal

try:
    from local_opus.weights import stamps
except ImportError:  # where they have no module of their own yet
    from local_opus.weights import manifest as stamps

#: What a structure check may say of a file; the rest is for whoever knows what should be there.
_REFUSALS = {
    Verdict.TRUNCATED,
    Verdict.CORRUPT,
    Verdict.UNSAFE,
    Verdict.PLACEHOLDER,
    Verdict.UNPROVEN,
}
_LONGEST_REASON = 1000


class BrokenError(AssertionError):
    """A promise that does not hold."""


@dataclass(frozen=True)
class Target:
    """``ask`` answers for bytes; ``seeds`` are sound files; ``words`` are what its format knows."""

    ask: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = field(default=())


def run(name: str, data: bytes) -> object:
    """Return the answer of a target. Raises BrokenError, or what the code under test lets out."""
    target = TARGETS[name]
    answer = target.ask(data)
    if repr(answer) != repr(target.ask(data)):
        raise BrokenError(f"{name}: two answers to the same bytes")
    return answer


def _must(truth: bool, what: str, *values: object) -> None:
    if not truth:
        raise BrokenError(f"{what}: {', '.join(map(repr, values))}")


def _refused(answer: Refusal) -> Refusal:
    _must(answer.verdict in _REFUSALS, "no verdict of a structure check", answer.verdict)
    _line(answer.reason)
    return answer


def _line(text: str) -> None:
    """Require one line that a terminal can be shown."""
    _must(text.isprintable() and text != "", "not printable", text)
    _must(len(text) <= _LONGEST_REASON, "too long for one line", len(text))
    text.encode()


def _sound(info: object) -> object:
    """Require facts that a manifest can hold."""
    summary = info.summary()  # type: ignore[attr-defined]
    json.dumps(summary, ensure_ascii=False, allow_nan=False).encode()
    for value in summary.values():
        _must(value is None or isinstance(value, bool | int | str), "no fact", value)
    return summary


def _within(runs: object, size: int) -> None:
    """Require that numbers which are sampled lie in the file."""
    for run in runs() if callable(runs) else runs:  # type: ignore[attr-defined]
        end = run.offset + (run.count - 1) * run.stride if run.count else run.offset
        _must(
            run.offset >= 0 and run.count >= 0 and end <= size, "a run out of the file", run, size
        )


# --- one format each ---------------------------------------------------------------------------


def _gguf(data: bytes) -> object:
    answer = gguf.check(BytesIO(data), len(data))
    if isinstance(answer, Refusal):
        return _refused(answer)
    for one in answer.tensors:
        end = answer.data_start + one.offset + one.bytes
        _must(end <= len(data), "a tensor out of the file", one, len(data))
        _must(one.bytes > 0 and one.offset >= 0, "no extent", one)
    _must(sum(one.bytes for one in answer.tensors) <= len(data), "more than the file", len(data))
    _within(answer.runs, len(data))
    problem = genai_problem(answer)
    _line(problem or "none")
    return _sound(answer), problem


def _safetensors(data: bytes) -> object:
    answer = safetensors.check(BytesIO(data), len(data))
    if isinstance(answer, Refusal):
        return _refused(answer)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    ends = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    room = len(data) - 8 - length
    _must(sum(end - begin for begin, end in ends) == room, "not all of the file", ends, room)
    _must(max((end for _, end in ends), default=0) == room, "not to the end", ends, room)
    _within(answer.runs, len(data))
    return _sound(answer)


def _ir(data: bytes) -> object:
    answers = []
    for bin_size in (None, 0, len(builders.IR_BIN), 1 << 40):
        answer = ir.check(BytesIO(data), len(data), bin_size)
        if isinstance(answer, Refusal):
            answers.append(_refused(answer))
            continue
        _must(answer.constants_end == (bin_size or 0), "not all of the .bin", answer)
        answers.append(_sound(answer))
    return answers


def _container(check: Callable[..., object], **options: bool) -> Callable[[bytes], object]:
    def ask(data: bytes) -> object:
        answer = check(BytesIO(data), len(data), **options)
        return _refused(answer) if isinstance(answer, Refusal) else _sound(answer)

    return ask


def _onnx(data: bytes) -> object:
    answer = onnx.check(BytesIO(data), len(data))
    if isinstance(answer, Refusal):
        return _refused(answer)
    _within(answer.runs, len(data))
    for path, outside in answer.outside.items():
        parts = path.split("/")
        _must(not path.startswith("/") and ".." not in parts, "data outside the folder", path)
        _within(outside.runs, outside.end)
    return _sound(answer)


#: Files beside weights, by the names that their checks go by.
BESIDE = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.json", "special_tokens_map.json",
    "vocab.json", "config.json", "x.index.json", "tokenizer.model", "x.spm", "chat_template.jinja",
    "vocab.txt", "merges.txt", "gpt2.tiktoken", "any.json",
)  # fmt: skip


def _beside(data: bytes) -> object:
    name, data = (BESIDE[data[0] % len(BESIDE)], data[1:]) if data else (BESIDE[0], b"")
    answer = tokenizer.check(name, BytesIO(data), len(data))
    _must(answer is not None, "no answer", name)
    return _refused(answer) if isinstance(answer, Refusal) else _sound(answer)


#: Names of files that are judged together.
TOGETHER = (
    "a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "a-00001-of-00002.safetensors",
    "a-00002-of-00002.safetensors", "a.safetensors.index.json", "config.json", "model.onnx",
    "data.bin", "openvino_model.xml", "openvino_model.bin", "sub/config.json", "sub/model.gguf",
)  # fmt: skip


def pack(files: dict[str, bytes]) -> bytes:
    """Return a folder as one input: of each file its name's number, its length, its bytes."""
    return b"".join(
        struct.pack("<BH", TOGETHER.index(name), len(data)) + data for name, data in files.items()
    )


def _folder(data: bytes) -> object:
    files = {}
    while len(data) >= 3 and len(files) < 6:
        number, length = struct.unpack("<BH", data[:3])
        files[TOGETHER[number % len(TOGETHER)]] = data[3 : 3 + length]
        data = data[3 + length :]
    host = memory_folder.Folder(files)
    inspector = Inspector(host, "/m", files)
    found = []
    for name, held in files.items():
        one = inspector.look(name, len(held))
        _line(one.text)
        found.append((name, one.kind, one.refusal, one.summary))
    for path, refusal in judge_folder(host, "/m", inspector, files):
        _line(refusal.reason)
        path.encode(errors="surrogateescape")
        found.append((path, refusal))  # type: ignore[arg-type]
    return found


def _pickles(data: bytes) -> object:
    head = data[:HEAD]
    return pickles.begins_as_pickle(head), pickles.is_pickle(head, len(data))


#: Names that choose a path through the inspectors; the first byte of an input picks one.
NAMES = (
    "model.gguf", "model.safetensors", "openvino_model.xml", "openvino_model.bin", "weights.bin",
    "model.npz", "model.onnx", "tokenizer.json", "tokenizer_config.json", "config.json", "model.pt",
    "vocab.txt", "merges.txt", "tokenizer.model", "chat_template.jinja", "README.md", "noext",
    "model.safetensors.index.json", "special_tokens_map.json", "a.html", "x.h5", "vocab.json",
    "model.keras", "model.onnx_data", "added_tokens.json", "generation_config.json",
)  # fmt: skip


def _named(data: bytes) -> tuple[str, bytes]:
    return (NAMES[data[0] % len(NAMES)], data[1:]) if data else (NAMES[0], b"")


def _classify(data: bytes) -> object:
    name, data = _named(data)
    head = data[:HEAD]
    kind = classify(name, head, len(data))
    said = placeholder_reason(name, kind, head, len(data)), unsafe_reason(name, kind)
    for text in filter(None, said):
        _line(text)
    return kind, said


def _inspect(data: bytes) -> object:
    name, data = _named(data)
    files = {name: data}
    if name == "openvino_model.bin":  # half of a pair
        files["openvino_model.xml"] = builders.ir_xml()
    elif name == "openvino_model.xml":
        files["openvino_model.bin"] = builders.IR_BIN
    found = inspect_file(memory_folder.Folder(files), "/m", name, len(data))
    _must(isinstance(found, Finding), "no finding", found)
    _line(found.text)
    if found.refusal is not None:
        _refused(found.refusal)
    return found.kind, found.refusal, found.summary


def _manifest(data: bytes) -> object:
    host = memory_folder.Folder({manifests.NAME: data})
    try:
        found = manifests.read(host, "/m")
    except LocalOpusError as error:
        for text in (error.message, error.remedy, *error.details):
            _line(text)
        return error.message
    names = [file.path for file in found.files]
    _must(len({*names}) == len(names) > 0, "a path twice", names)
    for path in names:
        parts = path.split("/")
        _must(not {"", ".", ".."} & {*parts}, "a path that leaves its folder", path)
    return found


def _stamps(data: bytes) -> object:
    host = memory_folder.Folder({stamps.STAT_NAME: data})
    return stamps.read_stamps(host, "/m", "ab" * 32)


# --- sound files to start from -----------------------------------------------------------------


def _tar() -> bytes:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("config.json")
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"{}"))
    return buffer.getvalue()[:2048]


def _compressed() -> Iterator[bytes]:
    import bz2
    import gzip
    import lzma
    import pickle

    for data in (b"hello " * 20, pickle.dumps({"a": list(range(20))})):
        yield gzip.compress(data, mtime=0)
        yield bz2.compress(data)
        yield lzma.compress(data)


def _npy(
    descr: str = "<f4", shape: str = "(2, 2)", data: bytes = bytes(16), version: int = 1
) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    width = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, len(text)) + text + data


def _hdf5(version: int = 0) -> bytes:
    block = bytearray(b"\x89HDF\r\n\x1a\n" + bytes([version]) + bytes(87))
    width_at, end_at = (13, 40) if version == 0 else (9, 28)
    block[width_at] = 8
    block[end_at : end_at + 8] = struct.pack("<Q", 96)
    return bytes(block)


def _manifest_bytes() -> bytes:
    file = manifests.ManifestFile(
        path="sub/tiny.gguf", size=3, sha256="ab" * 32, blake3="cd" * 32, segments=("ef" * 32,),
        origin=manifests.WheelOrigin(requirement="a==1", member="a/b"), trust="pinned",
        structure={"format": "gguf v3", "tensors": 2},
    )  # fmt: skip
    derived = manifests.DerivedOrigin(sha256="ab" * 32, converter="x 1")
    other = file.model_copy(update={"path": "b.bin", "origin": derived, "segments": ()})
    made = manifests.Manifest(model="tiny", variant="cpu-q4_1", created_by="t", files=(file, other))
    return made.model_dump_json(indent=1).encode()


def _stamps_bytes() -> bytes:
    stamp = stamps.FileStamp(size=1, inode=2, mtime_ns=3, ctime_ns=4)
    return stamps.Stamps(manifest_sha256="ab" * 32, files={"a/b": stamp}).model_dump_json().encode()


def _ggufs() -> tuple[bytes, ...]:
    wide = [("a", (1,), 0), ("b", (2, 3), 1), ("c", (64,), 8), ("d", (4, 1, 2, 3), 30)]
    return (
        builders.gguf_bytes(),
        builders.gguf_bytes({}, []),
        builders.gguf_bytes({"general.alignment": 64}, wide[:1]),
        builders.gguf_bytes({"general.architecture": "llama", "x": [1, 2, 3], "y": 0.5}, wide),
    )


def _tensors() -> tuple[bytes, ...]:
    entry = {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]}
    two = {
        "__metadata__": {"format": "pt"},
        "a": entry,
        "é": {"dtype": "F4", "shape": [3, 2], "data_offsets": [4, 7]},
    }
    return (
        builders.safetensors_bytes(),
        builders.safetensors_bytes(two, b"abcdefg"),
        builders.safetensors_bytes({}, b""),
    )


_ZIPS = (
    builders.wheel_bytes({"a.npy": _npy(), "b/c.npy": _npy("<U3", "(1,)", bytes(12))}),
    builders.wheel_bytes({"archive/data.pkl": b"\x80\x02}."}),
    builders.wheel_bytes({"config.json": b'{"class_name": "Lambda"}', "metadata.json": b"{}"}),
)
_JSON_WORDS = (
    b'{"":',
    b"[]",
    b"{}",
    b"null",
    b"NaN",
    b"Infinity",
    b"1e999",
    b'"\\ud800"',
    b"-1",
    b"18446744073709551616",
)
_PICKLED = (
    b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00}\x94K\x01K\x02s.",
    b"cos\nsystem\n(S'id'\ntR.",
    b"(lp0\nI1\na.",
)
_TEXTS = (
    builders.PLACEHOLDER, builders.LFS_POINTER, b"<!DOCTYPE html><html></html>", b"<!-- a --> <!-- b --> <html>",
    b'{"error": "Not Found"}', b"\xff\xfeh\x00i\x00", b"\xef\xbb\xbfhello", b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0",
)  # fmt: skip


def _all_named() -> tuple[bytes, ...]:
    """Sound files under the names that they have, for the targets that read a name first."""
    held = {
        "model.gguf": _ggufs()[0], "model.safetensors": _tensors()[0], "weights.bin": builders.PLACEHOLDER,
        "openvino_model.xml": builders.ir_xml(), "openvino_model.bin": builders.IR_BIN, "model.npz": _ZIPS[0],
        "model.pt": _ZIPS[1], "model.keras": _ZIPS[2], "x.h5": _hdf5(), "config.json": b"{}", "noext": _PICKLED[1],
        "tokenizer.json": b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": []}',
        "a.html": _TEXTS[3], "README.md": b"# a\n", "vocab.txt": b"a\nb\n", "tokenizer_config.json": b"{}",
    }  # fmt: skip
    return tuple(bytes([NAMES.index(name)]) + data for name, data in held.items())


def _onnxes() -> tuple[bytes, ...]:
    outside = builders.onnx_tensor(outside={"location": "data.bin", "offset": "0", "length": "16"})
    return (
        builders.onnx_bytes(builders.onnx_tensor(raw=bytes(16))),
        builders.onnx_bytes(outside),
        builders.onnx_bytes(
            builders.onnx_tensor("b", (2, 2), 7, more=builders.field(7, bytes([1, 2, 3, 4])))
        ),
    )


def _jsons() -> dict[str, object]:
    return {
        "tokenizer.json": builders.tokenizer_json(),
        "tokenizer_config.json": {"chat_template": [{"name": "a", "template": "{{ x }}"}]},
        "chat_template.json": {"chat_template": "{{ x }}"},
        "special_tokens_map.json": {"eos_token": {"content": "</s>"}, "x": None},
        "vocab.json": {"a": 0, "b": 1},
        "config.json": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
        "x.index.json": {
            "metadata": {"total_size": 8},
            "weight_map": {"w": "a-00001-of-00002.safetensors"},
        },
    }


def _besides() -> tuple[bytes, ...]:
    held = {name: json.dumps(value).encode() for name, value in _jsons().items()}
    held |= {
        "tokenizer.model": builders.sentencepiece_bytes("<unk>", "a"), "x.spm": b"YQ== 0\nYg== 1\n",
        "chat_template.jinja": b"{% for m in x %}{% endfor %}", "vocab.txt": b"a\nb\n",
        "merges.txt": b"#version: 0.2\na b\n", "gpt2.tiktoken": b"YQ== 0\nYg== 1\n",
    }  # fmt: skip
    return tuple(bytes([BESIDE.index(name)]) + data for name, data in held.items())


def _folders() -> tuple[bytes, ...]:
    parts = [
        builders.gguf_bytes(
            {"split.no": number, "split.count": 2, "split.tensors.count": 2},
            [(f"t{number}", (8,), 0)],
        )
        for number in (0, 1)
    ]
    index = json.dumps(_jsons()["x.index.json"]).encode()
    return (
        pack({TOGETHER[0]: parts[0], TOGETHER[1]: parts[1]}),
        pack({TOGETHER[2]: builders.safetensors_bytes(), TOGETHER[4]: index}),
        pack({"model.onnx": _onnxes()[1], "data.bin": bytes(range(16))}),
        pack({"openvino_model.xml": builders.ir_xml(), "openvino_model.bin": builders.IR_BIN, "config.json": b"{}"}),
        pack({"sub/config.json": b'{"model_type": "llama"}'}),
    )  # fmt: skip


TARGETS: dict[str, Target] = {
    "gguf": Target(_gguf, _ggufs(), (b"GGUF", b"general.alignment", struct.pack("<Q", 1 << 63), struct.pack("<I", 9), struct.pack("<I", 8), b"\xff" * 8)),
    "safetensors": Target(_safetensors, _tensors(), (b'"dtype":"F32"', b'"shape":[1]', b'"data_offsets":[0,4]', b'"__metadata__":{}', *_JSON_WORDS)),
    "ir": Target(_ir, (builders.ir_xml(), builders.ir_xml("<layer/>"), builders.ir_xml(name="\u00e9")), (b"<layer ", b'type="Const"', b"<data ", b'element_type="f32"', b'shape="1,2"', b'offset="0"', b'size="4"', b"<!DOCTYPE", b"<!ENTITY", b"<![CDATA[", b"&#0;", b'encoding="utf-16"', b"</layer>", b"<net ")),
    "zip": Target(_container(archives.check_zip, weights=False), _ZIPS, (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06", b".pkl", b".npy", b"\xff" * 4)),
    "tar": Target(_container(archives.check_tar, weights=False), (_tar(),), (b"ustar\0", b"pickle", b"00000000002\0", b"\x80" + b"\xff" * 11)),
    "compressed": Target(_container(archives.check_compressed, weights=False), tuple(_compressed()), (b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0")),
    "npy": Target(_container(arrays.check_npy), (_npy(), _npy("<U2", "(2,)"), _npy("|O", "(1,)"), _npy(version=2)), (b"'descr'", b"'|O'", b"(1, 2)", b"9" * 20, b"'<f8'")),
    "hdf5": Target(_container(arrays.check_hdf5), (_hdf5(), _hdf5(2)), (b"\x89HDF\r\n\x1a\n",)),
    "onnx": Target(_onnx, _onnxes(), (b"location", b"offset", b"length", b"../x", b"\x0a\x00", b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x01")),
    "sentencepiece": Target(_container(sentencepiece.check), (builders.sentencepiece_bytes("<unk>", "a", "b"),), (b"\x0a\x03", b"\x80" * 9 + b"\x01")),
    "beside": Target(_beside, _besides(), (b'"vocab"', b'"merges"', b'"weight_map"', b'"total_size"', b'"model"', b"#version", *_JSON_WORDS)),
    "folder": Target(_folder, _folders(), (b"GGUF", b"split.no", b"split.count", b'"weight_map"', b'"total_size"', b"location", *_JSON_WORDS)),
    "pickles": Target(_pickles, _PICKLED, (b"\x80\x04", b"cos\nsystem\n", b"R.", b"\x93", b"\x8d" + b"\xff" * 8)),
    "classify": Target(_classify, tuple(b"\x04" + text for text in _TEXTS) + _all_named(), (b"<!-- -->", b"<?xml ?>", b"<html", b'{"error":', b"version https://git-lfs", b"PK\x03\x04", b"\x7fELF")),
    "inspect": Target(_inspect, _all_named(), (b"GGUF", b"<net ", b"{", b"PK\x03\x04", *_JSON_WORDS)),
    "manifest": Target(_manifest, (_manifest_bytes(),), (b'"path"', b'"../x"', b'"schema_version"', b'"kind":"hub"', *_JSON_WORDS)),
    "stamps": Target(_stamps, (_stamps_bytes(),), _JSON_WORDS),
}  # fmt: skip
