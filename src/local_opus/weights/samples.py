"""Looks at places spread over a file, where reading all of it would take minutes.

A file of zeros, one that was preallocated and never filled, and a long text all pass a look at the
first bytes only; here a bounded number of places is read, whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from local_opus.weights.classify import text_of

#: Bytes of a place, and places of a first look.
PLACE = 4096
PLACES = 32
#: Places of the second look, before a file is said to be constant from somewhere on.
_MORE = 256
#: Bytes of a file that is read as a whole for the second look.
_WHOLE = 4 * 1024 * 1024
#: Bytes of a file at least, of which a part may be called empty: small tensors may all be zero.
LEAST = 64 * 1024
#: The part of a file that is too much of zeros at its end: a third.
_TAIL = 3


def stand_in(
    stream: BinaryIO, size: int, *, text_counts: bool = True, zeros_only: bool = False
) -> str | None:
    """Return why the bytes of a file can hold no weights, or None.

    They can't where each is the same, where the last third or more is zero, or, if ``text_counts``,
    where all are text. ``zeros_only``, of a file that claims no weights: only where all are zero.
    Raises OSError as reading does.
    """
    first = list(_read(stream, _spread(0, size, PLACES)))
    constant = _constant(first)
    if constant is not None and not (zeros_only and constant != b"\0"):
        if _constant(list(_closer(stream, 0, size))) == constant:
            return f"{size} bytes, each of them 0x{constant.hex()} wherever looked"
        return None
    if text_counts and all(text_of(data, whole=False) is not None for _, data in first):
        return f"{size} bytes of text"
    if size < LEAST or zeros_only:
        return None
    begin = size
    for at, data in reversed(first):
        if data.count(0) != len(data):
            break
        begin = at
    if (size - begin) * _TAIL < size or _constant(list(_closer(stream, begin, size))) is None:
        return None
    return f"zeros from about byte {begin} on, to the end at {size}"


def _spread(begin: int, end: int, count: int) -> list[int]:
    """Return the offsets of ``count`` places from ``begin`` to ``end``, both included."""
    room = max(0, end - begin - PLACE)
    return sorted({begin + room * number // (count - 1) for number in range(count)})


def _read(stream: BinaryIO, offsets: list[int]) -> Iterator[tuple[int, bytes]]:
    for offset in offsets:
        stream.seek(offset)
        yield offset, stream.read(PLACE)


def _closer(stream: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Read all from ``begin`` to ``end`` where that is little, and many places where it is not."""
    if end - begin > _WHOLE:
        yield from _read(stream, _spread(begin, end, _MORE))
        return
    stream.seek(begin)
    yield begin, stream.read(end - begin)


def _constant(places: list[tuple[int, bytes]]) -> bytes | None:
    """Return the byte that all places are made of, or None."""
    byte = places[0][1][:1] if places else b""
    if not byte or any(data.count(byte) != len(data) for _, data in places):
        return None
    return byte
