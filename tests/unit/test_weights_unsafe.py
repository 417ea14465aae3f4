"""Files that run code where a loader opens them: told by their bytes, whatever their names."""

from __future__ import annotations

import bz2
import collections
import gzip
import io
import lzma
import os
import pickle
import socket
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import IR_BIN, ir_xml, wheel_bytes
from local_opus.host import Host
from local_opus.values import FileVerdict
from local_opus.weights import archives, arrays
from local_opus.weights.arrays import ContainerInfo
from local_opus.weights.pickles import is_pickle
from local_opus.weights.structure import Refusal
from local_opus.weights.verify import verify_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def verdict(folder: Path, name: str) -> FileVerdict:
    found = {item.path: item for item in verify_folder(Host("/"), str(folder))}
    return found[name]


class Bomb:
    """What a hostile pickle does when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("true",))


STATE = collections.OrderedDict(weight=[0.5] * 3000)


def tar(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 700
            archive.addfile(info, io.BytesIO(b"x" * 700))
    return buffer.getvalue()


def npy(descr: str, shape: str = "(3,)", data: bytes = bytes(24)) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    header = text.encode() + b" " * (53 - len(text) % 64 % 54) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def keras(layer: str) -> bytes:
    config = f'{{"config": {{"layers": [{{"class_name": "{layer}"}}]}}}}'
    return wheel_bytes(
        {"config.json": config.encode(), "metadata.json": b"{}", "model.weights.h5": b"x"}
    )


PE = b"MZ" + bytes(58) + struct.pack("<I", 0x80) + bytes(64) + b"PE\0\0" + bytes(400)
UNSAFE = {
    **{
        f"a pickle of protocol {number}": ("model.bin", pickle.dumps(STATE, protocol=number), "pickle")
        for number in range(6)
    },
    **{
        f"a hostile pickle of protocol {number}": ("x.bin", pickle.dumps(Bomb(), number), "pickle")
        for number in range(6)
    },
    "a pickle by the name of safetensors": ("m.safetensors", pickle.dumps(STATE), "pickle"),
    "a pickle by the name of a GGUF": ("m.gguf", pickle.dumps(STATE, 2), "pickle"),
    "a pickle by the name of a config": ("config.json", pickle.dumps(STATE), "pickle"),
    "a pickle by no name": ("weights", pickle.dumps(STATE, 0), "pickle"),
    "a pickle's name": ("m.pkl", b"any", ".pkl"),
    "a checkpoint": ("pytorch_model.bin", wheel_bytes({"archive/data.pkl": b"x"}), "data.pkl"),
    "a checkpoint as safetensors": ("m.safetensors", wheel_bytes({"a/data.pkl": b"x"}), "data.pkl"),
    "TorchScript": ("model.jit", wheel_bytes({"m/code/x.py": b"", "m/data.pkl": b""}), "data.pkl"),
    "a zip in place of weights": ("model.bin", wheel_bytes({"weights.raw": b"x"}), "in place of"),
    "a zip without a list": ("model.bin", wheel_bytes({"a": b"x"})[:40], "can't be read"),
    "a zip that claims too much": (
        "a.zip", wheel_bytes({"a": b"x"})[:-12] + struct.pack("<IIH", 1 << 30, 0, 0), "can't be read",
    ),
    "an old checkpoint": ("model.tar", tar("sys_info", "pickle", "storages"), "'pickle'"),
    "a tar with a pickle": ("model.nemo", tar("config.yaml", "deep/data.pkl"), "data.pkl"),
    "a tar in place of weights": ("model.bin", tar("a"), "in place of"),
    "gzip in place of weights": ("model.bin", gzip.compress(b"x" * 2000), "in place of"),
    "xz in place of weights": ("model.gguf", lzma.compress(b"x" * 2000), "in place of"),
    "bzip2 in place of weights": ("model.bin", bz2.compress(b"x" * 2000), "in place of"),
    "7z in place of weights": ("model.bin", b"7z\xbc\xaf\x27\x1c" + os.urandom(2000), "in place of"),
    "a pickle in gzip": ("model.gz", gzip.compress(pickle.dumps(STATE)), "compressed pickle"),
    "a pickle in xz": ("model.xz", lzma.compress(pickle.dumps(STATE)), "compressed pickle"),
    "a pickle in bzip2": ("model.bz2", bz2.compress(pickle.dumps(STATE)), "compressed pickle"),
    "an array of objects": ("a.npy", npy("'|O'", data=pickle.dumps([1])), "objects"),
    "a structure with objects": ("a.npy", npy("[('a', '<f4'), ('b', 'O')]"), "objects"),
    "arrays with one of objects": (
        "a.npz", wheel_bytes({"w.npy": npy("'<f8'"), "x.npy": npy("'|O'")}), "x.npy",
    ),
    "a Lambda layer": ("model.keras", keras("Lambda"), "Lambda"),
    "Python": ("modeling_x.py", b"import os\n", ".py"),
    "a program of Linux": ("model.bin", b"\x7fELF" + bytes(range(256)) * 9, "program"),
    "a program of Windows": ("model.bin", PE, "program"),
    "a program of macOS": ("model.bin", b"\xcf\xfa\xed\xfe\x07\0\0\x01" + bytes(range(256)), "program"),
    "a fat program of macOS": ("model.bin", b"\xca\xfe\xba\xbe\0\0\0\x02" + bytes(range(256)), "program"),
    "a script": ("model.bin", b"#!/bin/sh\nrm -rf /\n", "script"),
    "a script by the name of a config": ("config.json", b"#!/usr/bin/env python3\n", "script"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "words"), UNSAFE.values(), ids=UNSAFE.keys())
def test_what_runs_code_is_unsafe(folder, name, data, words):
    (folder / name).write_bytes(data)
    found = verdict(folder, name)
    assert found.verdict == "unsafe"
    assert words in found.evidence


HARMLESS = {
    "arrays": ("a.npz", wheel_bytes({"w.npy": npy("'<f8'"), "x.npy": npy("'<i4'", data=bytes(12))})),
    "an array": ("a.npy", npy("'<f8'")),
    "a structure": ("a.npy", npy("[('a', '<f4'), ('b', '<i8')]")),
    "a Keras model": ("model.keras", keras("Dense")),
    "a zip": ("docs.zip", wheel_bytes({"a.txt": b"x"})),
    "a tar": ("model.nemo", tar("config.yaml", "weights.safetensors")),
    "gzip": ("words.txt.gz", gzip.compress(b"words " * 200)),
    "a class of Java": ("X.class", b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(range(256))),
    "a text": ("c.txt", b"cat\ndog\nRat\n"),
    "HDF5": ("model.h5", b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8]) + bytes(range(33)) * 9),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), HARMLESS.values(), ids=HARMLESS.keys())
def test_containers_without_code_are_unproven(folder, name, data):
    if name == "model.h5":
        data = data[:40] + struct.pack("<Q", len(data)) + data[48:]
    (folder / name).write_bytes(data)
    assert verdict(folder, name).verdict == "unproven"


CUT = {
    "an array": ("a.npy", npy("'<f8'", "(4,)")),
    "an array of texts": ("a.npy", npy("'<U3'", "(3,)")),
    "HDF5": ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8]) + bytes(25) + b"\0\1" + bytes(range(70))),
    "an array's header": ("a.npy", npy("'<f8'")[:30]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data"), CUT.values(), ids=CUT.keys())
def test_containers_that_end_early_are_truncated(folder, name, data):
    (folder / name).write_bytes(data)
    assert verdict(folder, name).verdict == "truncated"


def test_a_pickle_is_unsafe_even_where_a_graph_asks_for_its_bytes(folder):
    data = pickle.dumps(Bomb())
    const = f'<data element_type="u8" shape="{len(data)}" offset="0" size="{len(data)}"/>'
    (folder / "m.xml").write_bytes(ir_xml(f'<layer id="0" name="c" type="Const">{const}</layer>'))
    (folder / "m.bin").write_bytes(data)
    assert verdict(folder, "m.bin").verdict == "unsafe"


@pytest.mark.parametrize("start", [b"\x80\x04\x95", b"\x1f\x8b\x08", b"MZ", b"#!", b"BZh"])
def test_constants_may_begin_like_anything(folder, start):
    (folder / "m.xml").write_bytes(ir_xml())
    (folder / "m.bin").write_bytes(start + IR_BIN[len(start) :])
    assert verdict(folder, "m.bin").verdict == "unproven"


TEXTS = [b"cat\ndog\nRat\n", b"config\nfoo\n", b"2.", b"center\nleft\nright\n", b"I am here.", b""]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_no_pickle(text):
    assert not is_pickle(text, len(text))


@pytest.mark.timeout(20)
def test_a_socket_and_a_device_are_unsafe_and_not_opened(folder):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "model.bin"))
        os.mkfifo(folder / "model.gguf")
        assert verdict(folder, "model.bin").verdict == "unsafe"
        assert verdict(folder, "model.gguf").verdict == "unsafe"
    try:
        os.mknod(folder / "model.onnx", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")
    found = verdict(folder, "model.onnx")
    assert (found.verdict, "device" in found.evidence) == ("unsafe", True)


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(data):
    for start in (b"", b"PK\x05\x06", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n"):
        content = start + data
        size = len(content)
        for answer in (
            archives.check_zip(io.BytesIO(content), size, weights=False),
            archives.check_tar(io.BytesIO(content), size, weights=False),
            archives.check_compressed(io.BytesIO(content), size, weights=False),
            arrays.check_npy(io.BytesIO(content), size),
            arrays.check_hdf5(io.BytesIO(content), size),
        ):
            assert isinstance(answer, Refusal | ContainerInfo)
    is_pickle(data, len(data))
    is_pickle(data, len(data) + 1)


@given(st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_archives_never_raise(changes):
    data = bytearray(wheel_bytes({"w.npy": npy("'<f8'"), "b/data.bin": b"x" * 40}))
    for place, byte in changes:
        data[place % len(data)] = byte
    answer = archives.check_zip(io.BytesIO(bytes(data)), len(data), weights=False)
    assert isinstance(answer, Refusal | ContainerInfo)


def test_a_zip_of_64_bits_is_read(tmp_path):
    path = tmp_path / "big.zip"
    with (
        zipfile.ZipFile(path, "w") as archive,
        archive.open("a/data.pkl", "w", force_zip64=True) as to,
    ):
        to.write(b"x")
    data = path.read_bytes()
    answer = archives.check_zip(io.BytesIO(data), len(data), weights=False)
    assert isinstance(answer, Refusal)
