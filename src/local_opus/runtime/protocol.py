"""Framed messages between a worker and its parent.

A frame is a 4-byte big-endian length and that many bytes of UTF-8 JSON, one object a frame.
Nothing native is imported here: the server and the host speak the protocol too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import BinaryIO

HEADER = struct.Struct(">I")
#: Bytes of one frame at most; a longer one means that the stream is not ours.
MAX_FRAME = 64 * 1024 * 1024

Message = dict[str, object]


class FrameError(Exception):
    """The stream broke off inside a frame, or does not hold frames."""


def encode(message: Mapping[str, object]) -> bytes:
    """Return the frame of one message.

    Raises FrameError when it is longer than MAX_FRAME or holds what JSON or UTF-8 can't.
    """
    try:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        body = text.encode()
    except (TypeError, ValueError) as error:
        raise FrameError(f"a message can't be written as JSON: {error}") from error
    if len(body) > MAX_FRAME:
        raise FrameError(f"a frame of {len(body)} bytes is longer than {MAX_FRAME}")
    return HEADER.pack(len(body)) + body


def decode(body: bytes) -> Message:
    """Return the message of a frame's body. Raises FrameError when it is no JSON object."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame does not hold JSON: {error}") from error
    if not isinstance(message, dict):
        raise FrameError("a frame holds JSON that is no object")
    return message


def frame_length(header: bytes) -> int:
    """Return the body's length of a 4-byte header. Raises FrameError when it is out of range."""
    length = int(HEADER.unpack(header)[0])
    if length > MAX_FRAME:
        raise FrameError(f"a frame claims {length} bytes; this is not a frame")
    return length


class Decoder:
    """Messages out of bytes that arrive in pieces of any size."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes; return the messages that are complete now. Raises FrameError."""
        self._bytes += data
        messages = []
        while len(self._bytes) >= HEADER.size:
            end = HEADER.size + frame_length(bytes(self._bytes[: HEADER.size]))
            if len(self._bytes) < end:
                break
            messages.append(decode(bytes(self._bytes[HEADER.size : end])))
            del self._bytes[:end]
        return messages

    @property
    def inside_frame(self) -> bool:
        """Whether a frame has begun that is not complete."""
        return bool(self._bytes)


def read(stream: BinaryIO) -> Message | None:
    """Read one message; None at a clean end. Raises FrameError when it ends inside a frame."""
    header = stream.read(HEADER.size)
    if not header:
        return None
    if len(header) < HEADER.size:
        raise FrameError("the stream ended inside a frame's header")
    length = frame_length(header)
    body = stream.read(length)
    if len(body) < length:
        raise FrameError("the stream ended inside a frame")
    return decode(body)


def write(stream: BinaryIO, message: Mapping[str, object]) -> None:
    """Write one message and flush it."""
    stream.write(encode(message))
    stream.flush()
