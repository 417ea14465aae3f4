"""The structure checks of OpenVINO IR and safetensors."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import IR_BIN, ir_xml, safetensors_bytes
from local_opus.values import Verdict
from local_opus.weights import ir, safetensors
from local_opus.weights.structure import Refusal


def check(xml: bytes, bin_size: int | None = len(IR_BIN)) -> ir.IrInfo | Refusal:
    return ir.check(io.BytesIO(xml), len(xml), bin_size)


def const(**attributes: str) -> bytes:
    written = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return ir_xml(f'<layer id="0" name="c" type="Const"><data {written}/></layer>')


def test_a_sound_ir_tells_its_facts():
    info = check(ir_xml())
    assert isinstance(info, ir.IrInfo)
    assert (info.name, info.layers, info.constants, info.constants_end) == ("tiny", 2, 2, 18)
    assert info.element_types == ("f32", "u4")


LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE l [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
REFUSED = {
    "a billion laughs": (ir_xml(head=LAUGHS, name="&b;"), Verdict.UNSAFE, "DOCTYPE"),
    "an external entity": (ir_xml(head=OUTSIDE, name="&f;"), Verdict.UNSAFE, "DOCTYPE"),
    "50,000 nested elements": (ir_xml("<a>" * 50_000), Verdict.UNSAFE, "nested deeper"),
    "another root": (b"<html></html>", Verdict.CORRUPT, "<html>"),
    "no XML": (b"hello", Verdict.CORRUPT, "broken"),
    "an XML that ends early": (ir_xml()[:-8], Verdict.TRUNCATED, "ends inside"),
    "an unknown encoding": (
        ir_xml().replace(b'"1.0"', b'"1.0" encoding="no-such"'), Verdict.CORRUPT, "",
    ),
    "a negative offset": (
        const(element_type="f32", shape="1", offset="-4", size="4"), Verdict.CORRUPT, "offset",
    ),
    "an endless number": (
        const(element_type="f32", shape="1", offset="9" * 5000, size="4"), Verdict.CORRUPT, "offset",
    ),
    "a size that is not its shape's": (
        const(element_type="f32", shape="4", offset="0", size="18"), Verdict.CORRUPT, "needs 16",
    ),
    "an end that overflows": (
        const(element_type="f32", shape="1", offset=f"{(1 << 63) - 2}", size="4"), Verdict.CORRUPT,
        "overflows",
    ),
    "a shape that overflows": (
        const(element_type="f32", shape=f"{1 << 40},{1 << 40}", offset="0", size="16"),
        Verdict.CORRUPT, "needs",
    ),
    "a shape of a thousand dims": (
        const(element_type="f32", shape="9999999999," * 1000 + "1", offset="0", size="16"),
        Verdict.CORRUPT, "longer than any",
    ),
    "no size": (const(element_type="f32", shape="4", offset="0"), Verdict.CORRUPT, "size"),
}  # fmt: skip


@pytest.mark.parametrize(("xml", "verdict", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_hostile_or_broken_ir_is_refused(xml, verdict, words):
    answer = check(xml)
    assert isinstance(answer, Refusal)
    assert answer.verdict is verdict
    assert words in answer.reason


@pytest.mark.parametrize(
    ("bin_size", "verdict"),
    [(17, "truncated"), (19, "corrupt"), (None, "corrupt"), (0, "truncated")],
)
def test_the_bin_must_end_with_the_last_constant(bin_size, verdict):
    answer = check(ir_xml(), bin_size)
    assert isinstance(answer, Refusal)
    assert answer.verdict == verdict


@given(st.lists(st.tuples(st.integers(0, len(ir_xml()) - 1), st.integers(0, 255)), max_size=6))
def test_random_changes_of_an_ir_never_raise(changes):
    data = bytearray(ir_xml())
    for place, byte in changes:
        data[place] = byte
    assert isinstance(check(bytes(data)), Refusal | ir.IrInfo)


def check_tensors(data: bytes) -> safetensors.SafetensorsInfo | Refusal:
    return safetensors.check(io.BytesIO(data), len(data))


def test_a_sound_safetensors_tells_its_facts():
    info = check_tensors(safetensors_bytes())
    assert isinstance(info, safetensors.SafetensorsInfo)
    assert (info.tensors, info.parameters, info.dtypes) == (1, 2, ("F32",))


def entry(**changes: object) -> bytes:
    return safetensors_bytes(
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}
    )


BROKEN = {
    "a header over 100 MB": (struct.pack("<Q", 100_000_001) + b"{}", "corrupt"),
    "a header that is too long to be parsed": (struct.pack("<Q", 20_000_000) + b"{}", "unsafe"),
    "a huge header": (struct.pack("<Q", 1 << 60) + b"{}", "corrupt"),
    "a header past the end": (struct.pack("<Q", 100) + b"{}", "truncated"),
    "no JSON": (struct.pack("<Q", 2) + b"{[", "corrupt"),
    "100,000 brackets": (struct.pack("<Q", 100_001) + b"{" + b"[" * 100_000, "corrupt"),
    "too little data": (safetensors_bytes(data=b"1234"), "truncated"),
    "too much data": (safetensors_bytes(data=b"123456789"), "corrupt"),
    "a gap": (entry(data_offsets=[8, 16]), "corrupt"),
    "a range that runs backwards": (entry(data_offsets=[8, 0]), "corrupt"),
    "another shape": (entry(shape=[3]), "corrupt"),
    "a negative dim": (entry(shape=[-2]), "corrupt"),
    "a shape that overflows": (entry(shape=[1 << 62, 4]), "corrupt"),
    "an unknown dtype": (entry(dtype="X"), "corrupt"),
    "a name twice": (
        struct.pack("<Q", 15) + b'{"w":{},"w":{}}', "corrupt",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "verdict"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_safetensors_is_refused(data, verdict):
    answer = check_tensors(data)
    assert isinstance(answer, Refusal)
    assert answer.verdict == verdict


@given(st.binary(max_size=200))
def test_random_bytes_are_no_safetensors(data):
    assert isinstance(check_tensors(data), Refusal)


def test_a_tag_that_would_fill_the_memory_is_unsafe() -> None:
    """Expat holds a whole tag before it tells of it; a long text it tells piece by piece."""
    long = b'<net name="' + b"x" * (ir.MAX_TAG + ir.MAX_TAG) + b'"/>'
    answer = ir.check(io.BytesIO(long), len(long), None)
    assert isinstance(answer, Refusal)
    assert (answer.verdict, "a tag is longer than" in answer.reason) == (Verdict.UNSAFE, True)
    text = b"<net>" + b" " * (ir.MAX_TAG + ir.MAX_TAG) + b"</net>"
    assert not isinstance(ir.check(io.BytesIO(text), len(text), None), Refusal)
