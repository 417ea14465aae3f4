"""What a structure check answers with: facts of the file, or why it was refused.

Structure checks read what a stranger wrote. They never raise for its content, allocate no more
than the limits in their modules, and read each byte of a header once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from local_opus.values import Verdict

_U64 = struct.Struct("<Q")
#: Bytes of a header that are read at once where texts are passed over.
_BLOCK = 256 * 1024


@dataclass(frozen=True)
class Refusal:
    """Why a file is not what its format says: ``truncated``, ``corrupt`` or ``unsafe``."""

    verdict: Verdict
    reason: str


class RefusedError(Exception):
    """Carries a refusal from inside a parser to its entry point; never leaves the module."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(verdict, reason)


def corrupt(reason: str) -> RefusedError:
    """Return the error that ends a parse because the bytes contradict the format."""
    return RefusedError(Verdict.CORRUPT, reason)


def truncated(reason: str) -> RefusedError:
    """Return the error that ends a parse because the file ends too early."""
    return RefusedError(Verdict.TRUNCATED, reason)


class Cursor:
    """Reads a header in order; refuses to pass the file's end or the header's limit."""

    def __init__(self, stream: BinaryIO, size: int, limit: int) -> None:
        self._stream = stream
        self.size = size
        self._limit = limit
        self.position = 0

    def need(self, count: int, what: str) -> None:
        """Refuse when fewer than ``count`` bytes are left for ``what``."""
        end = self.position + count
        if end > self._limit:
            raise corrupt(f"the header is longer than {self._limit} bytes ({what})")
        if end > self.size:
            raise truncated(f"{what} ends at byte {end}, the file has {self.size}")

    def take(self, count: int, what: str) -> bytes:
        """Return the next ``count`` bytes."""
        self.need(count, what)
        data = self._stream.read(count)
        self.position += len(data)
        if len(data) < count:
            raise truncated(f"{what}: the file ends at byte {self.position}")
        return data

    def skip_strings(self, count: int, longest: int, what: str) -> None:
        """Pass over ``count`` texts, each after its length in 8 bytes.

        They are read in blocks: a vocabulary has hundreds of thousands, one read for each of them
        would take a second.
        """
        self.need(count * _U64.size, what)
        block, at = b"", 0
        base = self.position
        for _ in range(count):
            if at + _U64.size > len(block):
                self.position = base + at
                self.need(_U64.size, what)
                base, block, at = self.position, self._block(), 0
                if len(block) < _U64.size:
                    raise truncated(f"{what}: the file ends at byte {base + len(block)}")
            length = _U64.unpack_from(block, at)[0]
            if length > longest:
                raise corrupt(f"{what} holds a string of {length} bytes")
            at += _U64.size + length
        self.position = base
        self.need(at, what)
        self.position += at
        self._stream.seek(self.position)

    def _block(self) -> bytes:
        self._stream.seek(self.position)
        return self._stream.read(_BLOCK)

    def number(self, form: struct.Struct, what: str) -> int:
        """Return the next number in the form of a one-value Struct."""
        return int(form.unpack(self.take(form.size, what))[0])


def printable(text: str, limit: int = 120) -> str:
    """Return a stranger's text for a message: one line, no control characters, bounded."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in short
    )
