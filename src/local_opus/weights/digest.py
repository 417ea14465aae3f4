"""Digests: one streaming hasher. The type of the written form is ``values.Sha256``.

sha256 is what the world states; blake3 is what every core can check at once. Segments are blake3
digests of fixed cuts of a file: they tell which part of a damaged file must be fetched again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

from blake3 import blake3

#: Bytes of one segment: 16 MiB. A file of 100 GB has 6,000 segments, 400 kB of manifest; a repair
#: fetches little, and the cores that hash one model of 100 MB all end at about the same time.
SEGMENT_SIZE = 16 * 1024 * 1024
#: Bytes read at once: large enough that blake3 divides one read among all cores.
CHUNK = 8 * 1024 * 1024
#: Bytes that one of several threads reads at once: what it has just read is still in its core's
#: cache when it is hashed. 256 KiB to 1 MiB measured alike, 64 KiB and 8 MiB slower.
PIECE_CHUNK = 512 * 1024
#: What a piece of a file is hashed with; ``git_sha1`` is that of git's blob, of whole files.
How = Literal["blake3", "sha256", "git_sha1"]


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True)
class Digests:
    """What was read: its size in bytes and the digests that were asked for (else None)."""

    size: int
    sha256: str | None
    blake3: str | None
    segments: tuple[str, ...]


class Hasher:
    """Computes the asked digests of bytes as they arrive."""

    def __init__(
        self,
        *,
        want_sha256: bool = True,
        want_blake3: bool = True,
        segment_size: int = 0,
        threads: int = blake3.AUTO,
    ) -> None:
        self._size = 0
        self._threads = threads
        self._sha256 = hashlib.sha256() if want_sha256 else None
        self._blake3 = blake3(max_threads=threads) if want_blake3 else None
        self._segment_size = segment_size
        self._segment = blake3(max_threads=threads)
        self._segments: list[str] = []

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        if self._sha256 is not None:
            self._sha256.update(data)
        if self._blake3 is not None:
            self._blake3.update(data)
        if self._segment_size:
            self._cut(memoryview(data))
        self._size += len(data)

    def _cut(self, data: memoryview) -> None:
        filled = self._size % self._segment_size
        while data:
            part = data[: self._segment_size - filled]
            self._segment.update(part)
            filled += len(part)
            data = data[len(part) :]
            if filled == self._segment_size:
                self._segments.append(self._segment.hexdigest())
                self._segment = blake3(max_threads=self._threads)
                filled = 0

    def result(self) -> Digests:
        """Return the digests of what was added so far."""
        segments = list(self._segments)
        if self._segment_size and self._size % self._segment_size:
            segments.append(self._segment.hexdigest())
        return Digests(
            size=self._size,
            sha256=self._sha256.hexdigest() if self._sha256 is not None else None,
            blake3=self._blake3.hexdigest() if self._blake3 is not None else None,
            segments=tuple(segments),
        )


def hash_stream(
    stream: BinaryIO,
    *,
    limit: int,
    want_sha256: bool = True,
    want_blake3: bool = True,
    segment_size: int = 0,
    on_bytes: Callable[[int], None] | None = None,
) -> Digests:
    """Hash ``stream`` from where it stands to its end.

    At most ``limit`` + 1 bytes are read, so a file that grows can't hold the caller: a size of
    ``limit`` + 1 in the result says that there was more. ``on_bytes`` is told the length of each
    read. Raises OSError as reading does.
    """
    hasher = Hasher(want_sha256=want_sha256, want_blake3=want_blake3, segment_size=segment_size)
    buffer = memoryview(bytearray(min(CHUNK, limit + 1)))
    left = limit + 1
    while left > 0:
        count = _read_full(stream, buffer[: min(len(buffer), left)])
        if count == 0:
            break
        hasher.update(buffer[:count])
        left -= count
        if on_bytes is not None:
            on_bytes(count)
    return hasher.result()


def _read_full(stream: BinaryIO, buffer: memoryview) -> int:
    """Fill ``buffer`` as far as the stream goes; return the bytes read."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])  # type: ignore[attr-defined]  # BinaryIO lacks it
        if not count:
            break
        filled += count
    return filled


def hash_piece(
    stream: BinaryIO, begin: int, length: int, how: How, on_bytes: Callable[[int], None]
) -> str:
    """Return the digest of ``length`` bytes from byte ``begin`` on, in lower-case hexadecimal.

    Of fewer bytes where the stream ends before. For one of many threads: it hashes in the thread
    that calls it. Raises OSError as reading does.
    """
    digest = _hasher(how, length)
    buffer = memoryview(bytearray(min(PIECE_CHUNK, length)))
    stream.seek(begin)
    left = length
    while left > 0:
        count = stream.readinto(buffer[: min(left, PIECE_CHUNK)])  # type: ignore[attr-defined]
        if not count:
            break
        digest.update(buffer[:count])
        left -= count
        on_bytes(count)
    return str(digest.hexdigest())


def _hasher(how: How, length: int) -> _Hash:
    if how == "blake3":
        return blake3(max_threads=1)
    if how == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % length, usedforsecurity=False)
