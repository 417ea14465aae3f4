"""What is right in a damaged file: segments whose blake3 a manifest knows need not come again."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from local_opus.host.partials import PIECE

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.host.partials import Partial
    from local_opus.weights.manifest import Manifest

_CHUNK = 1024 * 1024
#: ``read(offset, buffer)`` returns how many bytes it read.
_Read = Callable[[int, memoryview], int]


@dataclass(frozen=True)
class Known:
    """What a manifest says of a file: blake3 of each ``segment_size`` bytes; sizes are bytes."""

    size: int
    sha256: str
    segment_size: int
    segments: tuple[str, ...]


def known_of(manifest: Manifest | None) -> dict[str, Known]:
    """Return what a manifest knows of the parts of files, by path."""
    if manifest is None or manifest.segment_size % PIECE:
        return {}
    size = manifest.segment_size
    return {
        file.path: Known(file.size, file.sha256, size, file.segments)
        for file in manifest.files
        if len(file.segments) == -(-file.size // size) > 0
    }


def reuse(host: Host, path: str, partial: Partial, known: Known) -> None:
    """Copy the right segments of the file at ``path`` into a partial file that lacks them.

    The damaged file stays as it is: another program may have it open, and another variant may
    share it.
    """
    found = host.files.stat(path)
    if found is None or found.kind != "file":
        return
    with host.files.open_read(path, follow=False) as stream:

        def read(offset: int, buffer: memoryview) -> int:
            stream.seek(offset)
            return stream.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

        for number, expected in enumerate(known.segments):
            pieces = _pieces(partial, known, number)
            if all(partial.states[piece] for piece in pieces):
                continue
            with suppress_unreadable():
                if _digest(read, known, number) == expected:
                    _copy(read, partial, pieces)
    partial.sync()


@contextmanager
def suppress_unreadable() -> Iterator[None]:
    """Pass over what a disk can no longer read: it counts as damaged, and comes anew."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def forget_bad(partial: Partial, known: Known | None) -> None:
    """Forget what of a whole, wrong file is wrong: all of it where no manifest knows its parts."""
    bad: list[int] = []
    if known is not None:
        for number, expected in enumerate(known.segments):
            if _digest(partial.read_into, known, number) != expected:
                bad += _pieces(partial, known, number)
    partial.forget(bad or range(partial.count))


def _pieces(partial: Partial, known: Known, segment: int) -> range:
    each = known.segment_size // PIECE
    return range(segment * each, min((segment + 1) * each, partial.count))


def _digest(read: _Read, known: Known, segment: int) -> str:
    hasher = blake3()
    buffer = memoryview(bytearray(_CHUNK))
    offset = segment * known.segment_size
    end = min(offset + known.segment_size, known.size)
    while offset < end:
        count = read(offset, buffer[: end - offset])
        if count == 0:
            break
        hasher.update(buffer[:count])
        offset += count
    return hasher.hexdigest()


def _copy(read: _Read, partial: Partial, pieces: range) -> None:
    buffer = memoryview(bytearray(PIECE))
    for piece in pieces:
        if partial.states[piece]:
            continue
        length = partial.length(piece)
        if read(piece * PIECE, buffer[:length]) == length:
            partial.write(piece * PIECE, buffer[:length])
            partial.mark(piece)
