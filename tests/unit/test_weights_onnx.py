"""The structure check of ONNX, and of the files that its data lie in."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import field, floats, onnx_bytes, onnx_tensor, varint
from local_opus.host import Host
from local_opus.values import FileVerdict, Verdict
from local_opus.weights import onnx
from local_opus.weights.inspect import inspect_file
from local_opus.weights.structure import Refusal
from local_opus.weights.verify import verify_folder

RAW = floats("f32", [0.5, -0.25, 1.0, 2.0])
CHANCE = random.Random(5)
SOUND = onnx_bytes(onnx_tensor(raw=RAW))


def check(data: bytes) -> onnx.OnnxInfo | Refusal:
    return onnx.check(io.BytesIO(data), len(data))


def test_a_sound_model_tells_its_facts():
    info = check(SOUND)
    assert isinstance(info, onnx.OnnxInfo)
    assert (info.ir_version, info.producer, info.opset) == (8, "tests 1.0", 17)
    assert (info.nodes, info.tensors, info.parameters) == (1, 1, 4)
    assert info.summary()["format"] == "onnx v8"
    assert [(run.name, run.form, run.count) for run in info.runs] == [("w", "f32", 4)]


def typed(number: int, data: bytes, dims: tuple[int, ...], kind: int) -> bytes:
    return onnx_tensor(dims=dims, kind=kind, more=field(number, data))


SUBGRAPH = field(2, "inner") + field(5, onnx_tensor(name="deep", raw=RAW))
BRANCH = field(1, "then_branch") + field(6, SUBGRAPH) + field(20, 5)
KEPT = {
    "floats in their own field": onnx_bytes(typed(4, RAW, (4,), 1)),
    "floats one by one": onnx_bytes(
        onnx_tensor(dims=(2,), more=(varint(4 << 3 | 5) + struct.pack("<f", 1.0)) * 2)
    ),
    "packed dims": onnx_bytes(field(1, varint(2) + varint(2)) + field(2, 1) + field(9, RAW)),
    "64-bit integers": onnx_bytes(typed(7, varint(300) + varint(1), (2,), 7)),
    "doubles": onnx_bytes(typed(10, bytes(16), (2,), 11)),
    "complex numbers": onnx_bytes(typed(4, bytes(16), (2,), 14)),
    "halves as integers": onnx_bytes(typed(5, varint(15_360) * 3, (3,), 10)),
    "4-bit integers": onnx_bytes(onnx_tensor(dims=(3,), kind=22, raw=b"\x12\x03")),
    "4-bit integers as integers": onnx_bytes(typed(5, varint(18) + varint(3), (3,), 22)),
    "texts": onnx_bytes(onnx_tensor(dims=(2,), kind=8, more=field(6, "a") + field(6, "b"))),
    "a scalar": onnx_bytes(onnx_tensor(dims=(), raw=RAW[:4])),
    "nothing": onnx_bytes(onnx_tensor(dims=(0,), raw=b"")),
    "nothing, and no data": onnx_bytes(onnx_tensor(dims=(0, 3))),
    "a type that came later": onnx_bytes(onnx_tensor(dims=(8,), kind=99, raw=b"123")),
    "no tensors": onnx_bytes(),
    "a graph in a node": onnx_bytes(graph=field(1, field(4, "If") + field(5, BRANCH))),
    "a function": onnx_bytes(model=field(25, field(1, "f") + field(7, field(4, "Add")))),
    "fields that came later": onnx_bytes(model=field(26, b"any") + field(4000, 1)),
    "an old model": field(1, 1) + field(7, field(2, "g")),
}


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT.keys())
def test_a_sound_model_is_kept(data):
    assert isinstance(check(data), onnx.OnnxInfo)


def test_a_tensor_of_a_graph_in_a_node_is_seen():
    info = check(KEPT["a graph in a node"])
    assert isinstance(info, onnx.OnnxInfo)
    assert [run.name for run in info.runs] == ["deep"]


def nested(levels: int) -> bytes:
    graph = field(2, "leaf")
    for _ in range(levels):
        graph = field(1, field(5, field(1, "x" * 30) + field(6, graph)))
    return field(1, 8) + field(7, graph)


def elsewhere(**keys: str) -> bytes:
    return onnx_bytes(onnx_tensor(outside=keys))


CORRUPT = {
    "no version": (field(7, field(2, "g")), "ir_version"),
    "no graph": (field(1, 8), "no graph"),
    "a graph that is a number": (field(1, 8) + field(7, 3), "should hold a message"),
    "field 0": (b"\x00\x01" + SOUND, "number 0"),
    "a group": (b"\x0b" + SOUND, "wire type 3"),
    "a number without end": (b"\x08" + b"\xff" * 12, "no end"),
    "a field that leaves its message": (
        field(1, 8) + field(7, b"\x0a\x7f" + bytes(10)) + bytes([0x32, 120]) + bytes(120),
        "after the message",
    ),
    "too little data": (onnx_bytes(onnx_tensor(raw=RAW[:-1])), "needs 16"),
    "too much data": (onnx_bytes(onnx_tensor(raw=RAW + b"x")), "needs 16"),
    "no data": (onnx_bytes(onnx_tensor()), "has 0 values"),
    "too few floats": (onnx_bytes(typed(4, RAW, (5,), 1)), "needs 5"),
    "too few integers": (onnx_bytes(typed(7, varint(1), (2,), 7)), "needs 2"),
    "too many integers": (onnx_bytes(typed(7, varint(1 << 60) * 9, (2,), 7)), "needs 2"),
    "too few texts": (onnx_bytes(onnx_tensor(dims=(2,), kind=8)), "2"),
    "a negative dim": (onnx_bytes(onnx_tensor(dims=(-4,), raw=RAW)), "negative"),
    "a shape that overflows": (
        onnx_bytes(onnx_tensor(dims=(1 << 40, 1 << 40), raw=RAW)), "overflows",
    ),
    "a thousand dims": (onnx_bytes(onnx_tensor(dims=(1,) * 1025, raw=RAW)), "dims"),
    "an offset in words": (elsewhere(location="d", offset="ten"), "offset"),
    "a negative length": (elsewhere(location="d", length="-4"), "length"),
    "an offset without end": (elsewhere(location="d", offset="9" * 5000), "offset"),
    "an offset that overflows": (elsewhere(location="d", offset="9223372036854775807"), "overflows"),
    "another length": (elsewhere(location="d", length="20"), "needs 16"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), CORRUPT.values(), ids=CORRUPT.keys())
def test_a_contradiction_is_corrupt(data, words):
    answer = check(data)
    assert isinstance(answer, Refusal)
    assert answer.verdict is Verdict.CORRUPT
    assert words in answer.reason
    assert answer.reason.isprintable()


@pytest.mark.parametrize("keep", [1, 5, 20, len(SOUND) // 2, len(SOUND) - 1])
def test_a_model_that_ends_early_is_truncated(keep):
    answer = check(SOUND[:keep])
    assert isinstance(answer, Refusal)
    assert answer.verdict is Verdict.TRUNCATED


OUTSIDE = ["../w", "/etc/passwd", "a/../../w", "..\\w", "C:\\w", "", "\\\\host\\w",
           "*/_ORT_MEM_ADDR_/*", "a\0b"]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_data_outside_the_folder_are_unsafe(path):
    answer = check(elsewhere(location=path))
    assert isinstance(answer, Refusal)
    assert answer.verdict is Verdict.UNSAFE
    assert answer.reason.isprintable()


def test_a_model_nested_too_deep_is_unsafe_and_ends_soon():
    for levels in (40, 2000):
        answer = check(nested(levels))
        assert isinstance(answer, Refusal)
        assert (answer.verdict, "nested" in answer.reason) == (Verdict.UNSAFE, True)
    assert isinstance(check(nested(20)), onnx.OnnxInfo)


def test_too_many_fields_are_unsafe(monkeypatch):
    monkeypatch.setattr("local_opus.weights.protobuf.MAX_FIELDS", 1000)
    answer = check(onnx_bytes(model=field(4000, 1) * 2000))
    assert isinstance(answer, Refusal)
    assert answer.verdict is Verdict.UNSAFE


def test_weights_are_not_read_into_memory():
    raw = bytes(8_000_000)
    data = onnx_bytes(onnx_tensor(dims=(2_000_000,), raw=raw))
    stream = io.BytesIO(data)
    tracemalloc.start()
    try:
        answer = onnx.check(stream, len(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(answer, onnx.OnnxInfo)
    assert peak < 500_000


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(data):
    assert isinstance(check(data), Refusal | onnx.OnnxInfo)


WHOLE = onnx_bytes(
    onnx_tensor(raw=RAW),
    onnx_tensor(outside={"location": "d", "offset": "0", "length": "16"}),
    typed(7, varint(300) + varint(1), (2,), 7),
    graph=field(1, field(4, "If") + field(5, BRANCH)),
)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6))
def test_random_changes_never_raise(changes):
    data = bytearray(WHOLE)
    for place, byte in changes:
        data[place] = byte
    answer = check(bytes(data))
    assert isinstance(answer, Refusal | onnx.OnnxInfo)
    if isinstance(answer, onnx.OnnxInfo):
        assert all(".." not in path and not path.startswith("/") for path in answer.outside)


# --- in a folder -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def verdicts(folder: Path) -> dict[str, FileVerdict]:
    return {item.path: item for item in verify_folder(Host("/"), str(folder))}


def write_pair(folder: Path, data: bytes | None, name: str = "model.onnx_data") -> None:
    tensor = onnx_tensor(outside={"location": name, "offset": "16", "length": "16"})
    (folder / "model.onnx").write_bytes(onnx_bytes(tensor))
    if data is not None:
        (folder / name).write_bytes(data)


def test_a_model_with_its_data_is_unproven(folder):
    write_pair(folder, bytes(16) + RAW)
    found = verdicts(folder)
    assert {item.verdict for item in found.values()} == {"unproven"}
    assert "data of model.onnx" in found["model.onnx_data"].evidence


DATA = {
    "absent": (None, "corrupt", "not there", None),
    "cut": (bytes(16) + RAW[:-1], "truncated", "which has 31", "truncated"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 90, "unproven", "", "placeholder"),
    "a text": (b"# Synthetic weights for opus_npu_int8\n", "unproven", "", "placeholder"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "of_model", "words", "of_data"), DATA.values(), ids=DATA.keys())
def test_a_model_is_judged_with_its_data(folder, data, of_model, words, of_data):
    write_pair(folder, data)
    found = verdicts(folder)
    assert found["model.onnx"].verdict == of_model
    assert words in found["model.onnx"].evidence
    if of_data is not None:
        assert found["model.onnx_data"].verdict == of_data


def test_a_link_is_no_data(folder):
    write_pair(folder, None)
    (folder.parent / "secret").write_bytes(bytes(64))
    (folder / "model.onnx_data").symlink_to("../secret")
    found = verdicts(folder)
    assert found["model.onnx"].verdict == "corrupt"
    assert found["model.onnx_data"].verdict == "unsafe"


def test_while_its_data_are_on_their_way_a_model_is_looked_at_alone(folder):
    write_pair(folder, None)
    size = (folder / "model.onnx").stat().st_size
    assert inspect_file(Host("/"), str(folder), "model.onnx", size).refusal is None


def test_a_data_file_may_be_named_and_begin_like_anything(folder):
    write_pair(folder, b"\x80\x04\x95" + bytes(13) + RAW, "onnx__MatMul_12.bin")
    assert verdicts(folder)["onnx__MatMul_12.bin"].verdict == "unproven"


def test_a_small_data_file_may_be_zero(folder):
    write_pair(folder, bytes(32), "bias.bin")
    assert verdicts(folder)["bias.bin"].verdict == "unproven"


def test_random_data_are_filler(folder):
    (folder / "inside.onnx").write_bytes(
        onnx_bytes(onnx_tensor(dims=(1024,), raw=CHANCE.randbytes(4096)))
    )
    tensor = onnx_tensor(name="norm", dims=(1024,), outside={"location": "sub/w", "length": "4096"})
    (folder / "outside.onnx").write_bytes(onnx_bytes(tensor))
    (folder / "sub").mkdir()
    (folder / "sub" / "w").write_bytes(CHANCE.randbytes(4096))
    found = verdicts(folder)
    assert found["inside.onnx"].verdict == "placeholder"
    assert found["outside.onnx"].verdict == "unproven"
    assert found["sub/w"].verdict == "placeholder"
    assert "'norm'" in found["sub/w"].evidence
