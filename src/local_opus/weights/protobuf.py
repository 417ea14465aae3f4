"""Walks a protocol buffers message field by field, without its schema's code and without recursion.

Layout: protobuf.dev/programming-guides/encoding. Payloads are passed over by seeking, so the
weights in a message are not read.
"""

from __future__ import annotations

from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights.structure import RefusedError, corrupt, truncated

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
#: Fields that are walked at most; a graph of 50,000 nodes has about a million.
MAX_FIELDS = 5_000_000
_WINDOW = 64 * 1024
_LAST_OF_VARINT = 63  # the shift of the tenth byte
_MORE = 0x80


class Wire:
    """Reads fields in order; ``position`` is the next byte's."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self.size = size
        self.position = 0
        self._base = 0
        self._data = b""
        self._left = MAX_FIELDS

    def field(self, end: int) -> tuple[int, int, int]:
        """Return a field's number, its form, and its value, or its length where it has one.

        ``end`` is where the message ends that the field is in. A field with a length has its
        payload at ``position``; the caller takes or skips it. Fixed fields are passed over, their
        value is their width.
        """
        self._left -= 1
        if self._left < 0:
            raise RefusedError(Verdict.UNSAFE, f"it has more than {MAX_FIELDS} fields")
        at = self.position
        tag = self.varint(end)
        number, form = tag >> 3, tag & 7
        if number == 0:
            raise corrupt(f"the field at byte {at} has the number 0")
        if form == VARINT:
            return number, form, self.varint(end)
        if form == LENGTH:
            length = self.varint(end)
            self._need(length, end, at)
            return number, form, length
        width = _FIXED.get(form)
        if width is None:
            raise corrupt(f"the field at byte {at} has the wire type {form}")
        self._need(width, end, at)
        self.position += width
        return number, form, width

    def varint(self, end: int) -> int:
        """Return the next number, of up to 64 bits."""
        value = shift = 0
        while True:
            byte = self._byte(end)
            value |= (byte & 0x7F) << shift
            if byte < _MORE:
                return value & 0xFFFF_FFFF_FFFF_FFFF
            shift += 7
            if shift > _LAST_OF_VARINT:
                raise corrupt(f"the number before byte {self.position} has no end")

    def skip(self, length: int) -> None:
        """Pass over a payload."""
        self.position += length

    def take(self, length: int, limit: int) -> bytes:
        """Return the first ``limit`` bytes of a payload, and pass over all of it."""
        begin = self.position - self._base
        wanted = min(length, limit)
        if not 0 <= begin <= begin + wanted <= len(self._data):
            self._stream.seek(self.position)
            data = self._stream.read(wanted)
        else:
            data = self._data[begin : begin + wanted]
        self.position += length
        return data

    def text(self, length: int, limit: int) -> str:
        """Return a payload's first bytes as text."""
        return self.take(length, limit).decode("utf-8", errors="replace")

    def _need(self, length: int, end: int, at: int) -> None:
        if self.position + length <= end:
            return
        if end == self.size:
            raise truncated(
                f"the field at byte {at} ends at byte {self.position + length},"
                f" the file has {self.size}"
            )
        raise corrupt(f"the field at byte {at} ends after the message that it is in")

    def _byte(self, end: int) -> int:
        place = self.position - self._base
        if self.position >= end:
            self._need(1, end, self.position)
        if not 0 <= place < len(self._data):
            self._stream.seek(self.position)
            self._base, self._data, place = self.position, self._stream.read(_WINDOW), 0
            if not self._data:
                raise truncated(f"the file ends at byte {self.position}")
        self.position += 1
        return self._data[place]
