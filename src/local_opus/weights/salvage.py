"""What is right in a damaged file: segments whose blake3 a manifest knows need not come again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from blake3 import blake3

from local_opus.host.partials import PIECE
from local_opus.weights.digest import SEGMENT_SIZE

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.host.partials import Partial
    from local_opus.weights.manifest import ManifestFile

_CHUNK = 1024 * 1024
#: ``read(offset, buffer)`` returns how many bytes it read.
_Read = Callable[[int, memoryview], int]


def reuse(host: Host, path: str, partial: Partial, listed: ManifestFile) -> None:
    """Copy the right segments of the file at ``path`` into a partial file that lacks them.

    The damaged file stays as it is: another program may have it open, and another variant may
    share it.
    """
    found = host.files.stat(path)
    if found is None or found.kind != "file" or not _has_segments(listed):
        return
    with host.files.open_read(path, follow=False) as stream:

        def read(offset: int, buffer: memoryview) -> int:
            stream.seek(offset)
            return stream.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

        for number, expected in enumerate(listed.segments):
            pieces = _pieces(partial, number)
            if all(partial.states[piece] for piece in pieces):
                continue
            if _digest(read, number, listed.size) == expected:
                _copy(read, partial, pieces)
    partial.sync()


def forget_bad(partial: Partial, listed: ManifestFile | None) -> None:
    """Forget what of a whole, wrong file is wrong: all of it where no manifest knows its parts."""
    bad: list[int] = []
    if listed is not None and _has_segments(listed):
        for number, expected in enumerate(listed.segments):
            if _digest(partial.read_into, number, listed.size) != expected:
                bad += _pieces(partial, number)
    partial.forget(bad or range(partial.count))


def _has_segments(listed: ManifestFile) -> bool:
    return len(listed.segments) == -(-listed.size // SEGMENT_SIZE) > 0


def _pieces(partial: Partial, segment: int) -> range:
    each = SEGMENT_SIZE // PIECE
    return range(segment * each, min((segment + 1) * each, partial.count))


def _digest(read: _Read, segment: int, size: int) -> str:
    hasher = blake3()
    buffer = memoryview(bytearray(_CHUNK))
    offset, end = segment * SEGMENT_SIZE, min((segment + 1) * SEGMENT_SIZE, size)
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
