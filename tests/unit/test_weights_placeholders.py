"""Files that stand in for weights, each kind: pointers, pages, texts, empty and unfilled ones."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Self

import pytest

from builders import (
    IR_BIN,
    LFS_POINTER,
    PLACEHOLDER,
    floats,
    gguf_bytes,
    ir_xml,
    safetensors_bytes,
)
from local_opus.host import Host
from local_opus.values import FileVerdict
from local_opus.weights import samples
from local_opus.weights.inspect import inspect_file
from local_opus.weights.verify import verify_folder

MIB = 1 << 20
NOISE = random.Random(7).randbytes
PAGE = "<!DOCTYPE html><html><body>Sign in to continue</body></html>"
S3 = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
LONG_TEXT = b"# Synthetic weights\n" * 20_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def verdict(folder: Path, name: str) -> FileVerdict:
    found = {item.path: item for item in verify_folder(Host("/"), str(folder))}
    return found[name]


def numbers(count: int) -> bytes:
    """Values as a training leaves them."""
    chance = random.Random(3)
    return floats("f32", (chance.gauss(0, 0.02) for _ in range(count)))


PLACEHOLDERS = {
    "the synthetic weights": ("model_weights.bin", PLACEHOLDER, "Synthetic weights"),
    "the same as safetensors": ("model.safetensors", PLACEHOLDER, "Synthetic weights"),
    "the same as ONNX": ("model.onnx", PLACEHOLDER, "Synthetic weights"),
    "the same in a folder": ("a/b/model.gguf", PLACEHOLDER, "Synthetic weights"),
    "the same as a graph": ("openvino_model.xml", PLACEHOLDER, "Synthetic weights"),
    "the same as a tokenizer": ("tokenizer.model", PLACEHOLDER, "Synthetic weights"),
    "the same under any name": ("opus.weights", PLACEHOLDER, "Synthetic weights"),
    "a pointer": ("model.safetensors", LFS_POINTER, "LFS pointer"),
    "a pointer of the old address": (
        "model.gguf", LFS_POINTER.replace(b"git-lfs.github", b"hawser.github"), "LFS pointer",
    ),
    "a padded pointer": ("openvino_model.bin", LFS_POINTER + b"\n" * 5000, "LFS pointer"),
    "a pointer with more keys": (
        "model.onnx", LFS_POINTER.replace(b"oid", b"ext-0-x sha256:11\n" * 100 + b"oid"),
        "LFS pointer",
    ),
    "a pointer after a mark": ("model.gguf", b"\xef\xbb\xbf\n" + LFS_POINTER, "LFS pointer"),
    "a pointer for a tokenizer": ("tokenizer.json", LFS_POINTER, "LFS pointer"),
    "a pointer for a graph": ("openvino_model.xml", LFS_POINTER, "LFS pointer"),
    "a pointer for SentencePiece": ("tokenizer.model", LFS_POINTER, "LFS pointer"),
    "a page": ("model.gguf", PAGE.encode(), "server"),
    "a page after white space": ("config.json", b"\n\n   \t" + PAGE.encode(), "server"),
    "a page with a mark": ("model.safetensors", b"\xef\xbb\xbf" + PAGE.encode(), "server"),
    "a page in UTF-16": ("model.gguf", PAGE.encode("utf-16"), "server"),
    "a page in Latin-1": ("model.gguf", b"<html><title>gesch\xfctzt</title>", "server"),
    "a page after a comment": ("model.gguf", b"<!-- x -->\n" + PAGE.encode(), "server"),
    "a long page": ("model.gguf", PAGE.encode() * 5000, "server"),
    "an error of a store": ("model.safetensors", S3.encode(), "server"),
    "an error of a store as a graph": ("openvino_model.xml", S3.encode(), "server"),
    "an error of a store as JSON": ("tokenizer.json", S3.encode(), "server"),
    "an error in JSON": (
        "config.json", b'{"error": "Repository not found", "status": 404}', "Repository not found",
    ),
    "an error in JSON as weights": ("model.gguf", b'{"error": "Invalid token"}', "Invalid token"),
    "a line of text": ("model.bin", b"Entry not found", "Entry not found"),
    "text in UTF-16": ("model.bin", "weights come later".encode("utf-16"), "weights come later"),
    "a long text": ("model.bin", LONG_TEXT, "of text"),
    "an empty file": ("model.onnx", b"", "empty"),
    "an empty config": ("config.json", b"", "empty"),
    "an empty graph": ("openvino_model.xml", b"", "empty"),
    "zeros": ("model.safetensors", bytes(3 * MIB), "0x00"),
    "a few zeros": ("model.bin", bytes(2000), "0x00"),
    "zeros for JSON": ("tokenizer.json", bytes(9000), "0x00"),
    "zeros under any name": ("weights", bytes(100_000), "0x00"),
    "one byte again and again": ("model.gguf", b"\xff" * 70_000, "0xff"),
    "a header and zeros": (
        "model.safetensors",
        safetensors_bytes(
            {"w": {"dtype": "F32", "shape": [MIB], "data_offsets": [0, 4 * MIB]}}, bytes(4 * MIB)
        ),
        "zeros from",
    ),
    "a GGUF of zeros": (
        "model.gguf", (sound := gguf_bytes(tensors=[("t", (1024, 256), 0)]))[: -MIB + 64] + bytes(MIB - 64),
        "zeros from",
    ),
    "a second half of zeros": ("model.bin", NOISE(MIB) + bytes(MIB), "zeros from"),
    "a download that was given its room and stopped": (
        "model.bin", NOISE(MIB) + bytes(2 * MIB), "zeros from",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "words"), PLACEHOLDERS.values(), ids=PLACEHOLDERS.keys())
def test_what_stands_in_for_a_file_is_a_placeholder(folder, name, data, words):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    found = verdict(folder, name)
    assert found.verdict == "placeholder"
    assert words in found.evidence
    assert found.evidence.isprintable()


def test_text_is_no_constants_even_where_the_graph_needs_as_many_bytes(folder):
    size = len(PLACEHOLDER)
    layer = f'<data element_type="i8" shape="{size}" offset="0" size="{size}"/>'
    floating = f'<data element_type="f32" shape="{size // 4}" offset="0" size="{size // 4 * 4}"/>'
    consts = "".join(
        f'<layer id="0" name="c" type="Const">{data}</layer>' for data in (layer, floating)
    )
    (folder / "model_weights.xml").write_bytes(ir_xml(consts))
    (folder / "model_weights.bin").write_bytes(PLACEHOLDER)
    assert verdict(folder, "model_weights.bin").verdict == "placeholder"


def graph(form: str, count: int, width: int) -> bytes:
    data = f'<data element_type="{form}" shape="{count}" offset="0" size="{count * width}"/>'
    return ir_xml(f'<layer id="0" name="scale" type="Const">{data}</layer>')


def test_zeros_are_no_constants_of_a_large_graph(folder):
    (folder / "m.xml").write_bytes(graph("f32", 50_000, 4))
    (folder / "m.bin").write_bytes(bytes(200_000))
    assert verdict(folder, "m.bin").verdict == "placeholder"
    assert verdict(folder, "m.xml").verdict == "unproven"


def sparse(path: Path, size: int, *parts: tuple[int, bytes]) -> None:
    with path.open("wb") as stream:
        for offset, data in parts:
            stream.seek(offset)
            stream.write(data)
        stream.truncate(size)


def data_of(size: int) -> bytes:
    header = {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    return safetensors_bytes(header, b"")


SPARSE = {
    "nothing but a header": (4 * MIB, ((0, data_of(4 * MIB)),)),
    "a part at the end": (4 * MIB, ((0, data_of(4 * MIB)), (3 * MIB, NOISE(MIB)))),
    "an end that never came": (16 * MIB, ((0, data_of(16 * MIB)), (4096, NOISE(13 * MIB)))),
}


@pytest.mark.parametrize(("size", "parts"), SPARSE.values(), ids=SPARSE.keys())
def test_a_sparse_file_is_a_placeholder(folder, size, parts):
    sparse(folder / "model.safetensors", size + len(parts[0][1]), *parts)
    found = verdict(folder, "model.safetensors")
    assert found.verdict == "placeholder"
    assert "never written" in found.evidence


def test_a_file_with_a_few_holes_is_none(folder):
    """A copy leaves holes where a tensor holds zeros."""
    header = data_of(8 * MIB)
    sparse(folder / "model.safetensors", 8 * MIB + len(header), (0, header),
           (8192, NOISE(4 * MIB)), (6 * MIB, NOISE(2 * MIB + len(header))))  # fmt: skip
    assert verdict(folder, "model.safetensors").verdict == "unproven"


def test_a_file_system_without_holes_is_believed(folder, monkeypatch):
    (folder / "model.bin").write_bytes(NOISE(MIB))
    host = Host("/")

    def no(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "lseek", lambda fd, at, how: no() if how == os.SEEK_DATA else 0)
    with host.files.open_read(str(folder / "model.bin")) as stream:
        assert host.files.holes(stream, MIB) == (0, 0)


def test_a_look_at_holes_leaves_the_stream_where_it_was(folder):
    sparse(folder / "a", MIB, (0, b"head"), (MIB // 2, b"tail"))
    host = Host("/")
    with host.files.open_read(str(folder / "a")) as stream:
        assert stream.read(4) == b"head"
        holes, at_end = host.files.holes(stream, MIB)
        assert 0 < at_end < holes < MIB
        stream.seek(MIB // 2)
        assert stream.read(4) == b"tail"


REAL = {
    "small zeros of another name": ("bias", bytes(3000)),
    "zeros at the begin": ("model.bin", bytes(MIB) + NOISE(3 * MIB)),
    "zeros at the end, a quarter": ("model.bin", NOISE(3 * MIB) + bytes(MIB)),
    "a file that claims no weights": ("sound.wav", NOISE(MIB) + bytes(3 * MIB)),
    "a text": ("vocab.txt", b"hello\n" * 100_000),
    "a read-me on weights": ("README.md", b"# Dummy weights\n\nfor tests"),
    "a page in a read-me": ("README.md", b"<html>\n"),
    "a page": ("index.html", PAGE.encode()),
    "an error's words in a config": (
        "generation_config.json",
        b'{"error": "x", "model_type": "llama"}',
    ),
    "XML about errors": ("errors.xml", b"<?xml version='1.0'?><errors/>"),
    "XML that is no graph": ("cascade.xml", b"<?xml version='1.0'?><opencv_storage/>"),
    "a small GGUF": ("model.gguf", gguf_bytes()),
}


@pytest.mark.parametrize(("name", "data"), REAL.values(), ids=REAL.keys())
def test_what_may_be_real_is_unproven(folder, name, data):
    (folder / name).write_bytes(data)
    assert verdict(folder, name).verdict == "unproven"


def test_an_ir_of_small_zeros_is_unproven(folder):
    (folder / "m.xml").write_bytes(graph("f32", 100, 4))
    (folder / "m.bin").write_bytes(bytes(400))
    assert verdict(folder, "m.bin").verdict == "unproven"


def test_an_ir_says_what_only_hashes_tell(folder):
    (folder / "m.xml").write_bytes(ir_xml())
    (folder / "m.bin").write_bytes(IR_BIN)
    assert "only hashes" in verdict(folder, "m.bin").evidence
    (folder / "m.bin").write_bytes(IR_BIN + bytes(range(90)))
    assert "another revision" in verdict(folder, "m.bin").evidence


def test_nothing_of_a_file_is_read_but_its_head_and_places(folder):
    """Whatever the size: 64 MiB of weights cost less than 2 MiB of reading."""
    size = 64 * MIB
    header = {"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    part = numbers(4096)
    data = safetensors_bytes(header, part * (size // len(part)))
    (folder / "model.safetensors").write_bytes(data)
    host = Host("/")
    read = 0
    with host.files.open_read(str(folder / "model.safetensors")) as real:

        class Counting:
            def read(self, count: int) -> bytes:
                nonlocal read
                got = real.read(count)
                read += len(got)
                return got

            def seek(self, offset: int) -> int:
                return real.seek(offset)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                pass

        host.files.open_read = lambda *_, **__: Counting()  # type: ignore[method-assign,assignment,return-value]
        found = inspect_file(host, str(folder), "model.safetensors", len(data))
    assert found.refusal is None
    assert 0 < read < 2 * MIB


def test_fifty_gigabytes_take_a_moment(folder):
    part = 5_000_000_000
    for number in range(1, 10):
        name = f"model-{number:05}-of-00009.safetensors"
        header = data_of(part)
        sparse(folder / name, part + len(header), (0, header))
    (folder / "openvino_model.xml").write_bytes(graph("f32", part // 4, 4))
    sparse(folder / "openvino_model.bin", part, (0, numbers(64)))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = verify_folder(Host("/"), str(folder))
        times.append(time.perf_counter() - start)
    weights = [item for item in found if item.path.endswith((".safetensors", ".bin"))]
    assert {item.verdict for item in weights} == {"placeholder"}
    assert min(times) < 0.5


def test_fifty_gigabytes_take_a_moment_where_no_holes_are_known(folder, monkeypatch):
    """Then the places are read, and after them the numbers of the tensors."""
    size, some = 5_000_000_000, numbers(4096)
    for number in range(10):
        header = {"norm.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
        start = safetensors_bytes(header, b"")
        whole = len(start) + size
        places = [at for at in samples._spread(0, whole, samples.PLACES) if at]
        on_grid = [at - (at - len(start)) % 4 for at in (*places, whole // 2 - 4096)]
        parts = [(at, some[: whole - at]) for at in on_grid]
        name = f"m-{number:05}-of-00010.safetensors"
        sparse(folder / name, whole, (0, start), *parts)
    host = Host("/")
    monkeypatch.setattr(host.files, "holes", lambda *_: (0, 0))
    times = []
    for _ in range(3):
        start_time = time.perf_counter()
        found = verify_folder(host, str(folder))
        times.append(time.perf_counter() - start_time)
    assert [item.verdict for item in found] == ["unproven"] * 10
    assert min(times) < 0.5
