"""The frames between a worker and its parent."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_opus.runtime import protocol

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
MESSAGES = st.lists(st.dictionaries(TEXT, JSON), max_size=4)


@settings(max_examples=40)
@given(MESSAGES)
def test_what_is_written_is_read(messages):
    stream = io.BytesIO()
    for message in messages:
        protocol.write(stream, message)
    stream.seek(0)
    for message in messages:
        assert protocol.read(stream) == message
    assert protocol.read(stream) is None


@settings(max_examples=40)
@given(MESSAGES, st.integers(1, 9))
def test_pieces_of_any_size_make_the_same_messages(messages, size):
    data = b"".join(map(protocol.encode, messages))
    decoder = protocol.Decoder()
    found = [
        message
        for start in range(0, len(data), size)
        for message in decoder.feed(data[start : start + size])
    ]
    assert found == messages
    assert not decoder.inside_frame


BROKEN = {
    "header cut": b"\0\0",
    "body cut": b"\0\0\0\5{}",
    "no json": b"\0\0\0\2xx",
    "no object": b"\0\0\0\2[]",
    "no utf-8": b"\0\0\0\2\xff\xff",
    "text of another program": b"Loading model...",
    "nested too deep": struct.pack(">I", 200_000) + b"[" * 200_000,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_stream_is_an_error(data):
    with pytest.raises(protocol.FrameError):
        protocol.read(io.BytesIO(data))


def test_a_cut_stream_is_seen():
    decoder = protocol.Decoder()
    assert decoder.feed(b"\0\0\0\5{}") == []
    assert decoder.inside_frame


UNSENDABLE = {
    "a number that JSON lacks": {"a": float("nan")},
    "half a character": {"a": "\ud800"},
    "bytes": {"a": b"x"},
    "too long": {"a": "x" * protocol.MAX_FRAME},
}


@pytest.mark.parametrize("message", UNSENDABLE.values(), ids=UNSENDABLE.keys())
def test_what_no_frame_holds_is_refused(message):
    with pytest.raises(protocol.FrameError):
        protocol.encode(message)
