"""The structure check of GGUF: sound files give facts, everything else a refusal, never a crash."""

from __future__ import annotations

import io
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import LLAMA, TENSORS, gguf_bytes, gguf_header, pad, tensor_info
from local_opus.values import Verdict
from local_opus.weights import gguf
from local_opus.weights.genai import genai_problem
from local_opus.weights.structure import Refusal

SOUND = gguf_bytes()


def check(data: bytes) -> gguf.GgufInfo | Refusal:
    return gguf.check(io.BytesIO(data), len(data))


def test_a_sound_file_tells_its_facts():
    info = check(SOUND)
    assert isinstance(info, gguf.GgufInfo)
    assert (info.architecture, info.name, info.context_length) == ("llama", "tiny", 64)
    assert (info.quantization, info.parameters, len(info.tensors)) == ("F32", 128, 2)
    assert info.has_chat_template
    assert info.arrays["tokenizer.ggml.tokens"] == 3
    assert info.summary()["tokenizer"] == "gpt2"


def two(offset: int, *, names: tuple[str, str] = ("a", "b"), data: int = 256) -> bytes:
    infos = [tensor_info(names[0], (32,), 0, 0), tensor_info(names[1], (32,), 0, offset)]
    return pad(gguf_header({}, infos)) + bytes(data)


def one(dims: tuple[int, ...], kind: int, offset: int = 0, data: int = 128) -> bytes:
    return pad(gguf_header({}, [tensor_info("t", dims, kind, offset)])) + bytes(data)


def raw_key(kind: int, body: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", kind) + body


CORRUPT = {
    "another magic": (b"GGUX" + SOUND[4:], "does not begin"),
    "version 1": (gguf_bytes(version=1), "version 1"),
    "version 4": (gguf_bytes(version=4), "version 4"),
    "byte-swapped version": (SOUND[:4] + b"\0\0\0\3" + SOUND[8:], "version"),
    "2^40 tensors": (gguf_bytes(claimed=1 << 40), "1099511627776 tensors"),
    "2^63 keys": (SOUND[:16] + struct.pack("<Q", 1 << 63) + SOUND[24:], "keys"),
    "a key's length of 2^60": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60), "a key"),
    "a key twice": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (struct.pack("<Q", 1) + b"k" + b"\0\0\0\0\1"),
        "twice",
    ),
    "a key's unknown type": (raw_key(13, b""), "unknown type 13"),
    "a nested array": (raw_key(9, struct.pack("<IQ", 9, 1)), "nested"),
    "an array of 2^61 numbers": (raw_key(9, struct.pack("<IQ", 12, 1 << 61)), "header"),
    "an array of 2^61 strings": (raw_key(9, struct.pack("<IQ", 8, 1 << 61)), "header"),
    "a key that is no UTF-8": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff", "UTF-8"),
    "alignment 0": (gguf_bytes({**LLAMA, "general.alignment": 0}), "alignment"),
    "alignment 33": (gguf_bytes({**LLAMA, "general.alignment": 33}), "alignment"),
    "an alignment in words": (gguf_bytes({**LLAMA, "general.alignment": "x"}), "alignment"),
    "overlapping tensors": (two(64), "overlaps"),
    "a gap between tensors": (two(160, data=288), "belong to no tensor"),
    "the same name twice": (two(128, names=("a", "a")), "same name"),
    "bytes after the last tensor": (two(128, data=256 + 33), "after the last tensor"),
    "five dims": (one((1, 1, 1, 1, 1), 0), "5 dims"),
    "a dim of 0": (one((0,), 0), "dim of 0"),
    "dims that overflow": (one((1 << 62, 1 << 62), 0), "overflows"),
    "an unknown tensor type": (one((32,), 4), "unknown type 4"),
    "a broken block": (one((31,), 3), "multiple"),
    "an odd offset": (one((32,), 0, offset=1), "aligned"),
    "an offset that overflows": (one((32,), 0, offset=(1 << 63) - 32), "overflows"),
}


@pytest.mark.parametrize(("data", "words"), CORRUPT.values(), ids=CORRUPT.keys())
def test_a_contradiction_is_corrupt(data, words):
    answer = check(data)
    assert isinstance(answer, Refusal)
    assert answer.verdict is Verdict.CORRUPT
    assert words in answer.reason


@pytest.mark.parametrize("keep", [1, 4, 8, 23, 100, len(SOUND) // 2, len(SOUND) - 32])
def test_a_file_that_ends_early_is_truncated(keep):
    answer = check(SOUND[:keep])
    assert isinstance(answer, Refusal)
    assert answer.verdict is Verdict.TRUNCATED


def test_the_padding_after_the_last_tensor_may_be_left_out():
    data = one((33,), 0, data=132)
    assert isinstance(check(data), gguf.GgufInfo)
    assert isinstance(check(pad(data)), gguf.GgufInfo)


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data):
    assert isinstance(check(data), Refusal)


@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_random_changes_never_raise(changes):
    data = bytearray(SOUND)
    for place, byte in changes:
        data[place] = byte
    answer = check(bytes(data))
    assert isinstance(answer, Refusal | gguf.GgufInfo)
    if isinstance(answer, gguf.GgufInfo):
        last = max(tensor.offset + tensor.bytes for tensor in answer.tensors)
        assert last <= len(data)


def test_a_hostile_count_takes_no_memory():
    data = raw_key(9, struct.pack("<IQ", 8, 7_000_000)) + bytes(64)
    tracemalloc.start()
    try:
        answer = check(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(answer, Refusal)
    assert peak < 1_000_000


def test_genai_loads_what_it_was_measured_to_load():
    info = check(gguf_bytes())
    assert isinstance(info, gguf.GgufInfo)
    assert genai_problem(info) is None


GENAI = {
    "architecture": (gguf_bytes({**LLAMA, "general.architecture": "phi3"}), "phi3"),
    "tokenizer": (gguf_bytes({**LLAMA, "tokenizer.ggml.model": "llama"}), "not gpt2"),
    "file type": (
        gguf_bytes({key: LLAMA[key] for key in LLAMA if key != "general.file_type"}),
        "general.file_type",
    ),
    "BF16": (gguf_bytes(tensors=[*TENSORS, ("x", (32, 2), 30)]), "BF16"),
    "F32 matrix": (gguf_bytes(tensors=[*TENSORS, ("x", (32, 2), 0)]), "F32"),
}


@pytest.mark.parametrize(("data", "words"), GENAI.values(), ids=GENAI.keys())
def test_genai_problem_names_what_it_lacks(data, words):
    info = check(data)
    assert isinstance(info, gguf.GgufInfo)
    problem = genai_problem(info)
    assert problem is not None
    assert words in problem
