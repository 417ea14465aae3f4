"""A file that is on its way: it arrives in pieces, and survives kill -9 and power loss.

Two files: the bytes, as long as the whole from the beginning, and ``.pieces`` beside them, which
says which pieces are there. A piece counts as *written* once its bytes were given to the kernel:
that outlives a kill. It counts as *durable* once they were flushed to the disk and that was noted
on the disk too: that outlives a power loss. After a boot only durable pieces count.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from local_opus.host.files import Files

#: Bytes of a piece: what a kill in the middle of one costs, and one byte of notes for each.
PIECE = 256 * 1024
#: Bytes that a power loss may cost: those that are written and not durable, and of each connection
#: a piece that is partly there and the bytes of another that were just read.
MAX_LOST = 8 * 1024 * 1024
SUFFIX = ".pieces"
MISSING, WRITTEN, DURABLE = 0, 1, 2
_HEADER = 4096
_SCHEMA = 1


class Partial:
    """The pieces of one file of ``size`` bytes whose content ``identity`` (its sha256) names.

    Threads may share it. Who opens it holds a lock that keeps other processes away. Every method
    raises OSError as the system calls do.
    """

    def __init__(self, files: Files, path: str, size: int, identity: str, boot: str) -> None:
        self.size = size
        self.count = -(-size // PIECE)
        self._files = files
        self._path = path
        self._head = {
            "schema_version": _SCHEMA, "size": size, "identity": identity, "piece": PIECE,
            "boot": boot,
        }  # fmt: skip
        self.changed = threading.Condition()
        self._users = 0
        self._closed = False
        with files.open_in_place(path + SUFFIX) as notes, files.open_in_place(path) as data:
            self.states = self._read(notes, os.fstat(data.fileno()).st_size)
            self._notes, self._data = os.dup(notes.fileno()), os.dup(data.fileno())
        try:
            os.ftruncate(self._data, size)
            # The states first: those of an earlier boot must not come to stand below this one.
            os.pwrite(self._notes, self.states, _HEADER)
            os.pwrite(self._notes, json.dumps(self._head).encode().ljust(_HEADER), 0)
            os.ftruncate(self._notes, _HEADER + self.count)
            os.fdatasync(self._notes)
            files.sync(path.rpartition("/")[0])
        except BaseException:
            self.close()
            raise

    def _read(self, notes: BinaryIO, length: int) -> bytearray:
        """Return the state of each piece as an earlier run left it."""
        head = _parsed(notes.read(_HEADER))
        if head is None:  # written by a program that filled it from the start and kept no notes
            whole = length // PIECE if length < self.size else 0
            return bytearray([WRITTEN] * whole + [MISSING] * (self.count - whole))
        kept = bytearray(notes.read(self.count))
        same = {key: head.get(key) for key in self._head if key != "boot"} == {
            key: value for key, value in self._head.items() if key != "boot"
        }
        if not same or len(kept) != self.count or length != self.size:
            return bytearray(self.count)
        lowest = WRITTEN if head.get("boot") == self._head["boot"] != "" else DURABLE
        return bytearray(state if lowest <= state <= DURABLE else MISSING for state in kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- pieces -----------------------------------------------------------------------------------

    def length(self, piece: int) -> int:
        """Return the bytes of a piece; the last one may be shorter."""
        return min(PIECE, self.size - piece * PIECE)

    @property
    def have(self) -> int:
        """Bytes in whole pieces."""
        whole = self.count - self.states.count(MISSING)
        last = self.count and self.states[-1] and PIECE - self.length(self.count - 1)
        return whole * PIECE - last

    def mark(self, piece: int) -> None:
        """Note that all bytes of a piece were written."""
        with self.changed:
            self._note([piece], WRITTEN)
            self.changed.notify_all()

    def forget(self, pieces: Iterable[int]) -> None:
        """Note that pieces have to come again."""
        with self.changed:
            self._note(pieces, MISSING)

    @property
    def loose(self) -> int:
        """Bytes that are written and not durable."""
        return self.states.count(WRITTEN) * PIECE

    def _note(self, pieces: Iterable[int], state: int) -> None:
        for piece in pieces:
            self.states[piece] = state
            os.pwrite(self._notes, bytes([state]), _HEADER + piece)

    # -- bytes ------------------------------------------------------------------------------------

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at an offset."""
        with self._in_use():
            left = memoryview(data)
            while left:
                done = os.pwrite(self._data, left, offset)
                left, offset = left[done:], offset + done

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Read bytes from an offset; return how many were read."""
        with self._in_use():
            return os.preadv(self._data, [buffer], offset)

    def sync(self) -> None:
        """Make every written piece durable."""
        with self._in_use():
            with self.changed:
                pieces = [piece for piece, state in enumerate(self.states) if state == WRITTEN]
            if not pieces:
                return
            try:
                os.fdatasync(self._data)
            except OSError:
                # The kernel tells once of what it could not write, and a later call may succeed
                # without it: these pieces have to come again.
                self._note_written(pieces, MISSING)
                raise
            self._note_written(pieces, DURABLE)
            os.fdatasync(self._notes)
            with self.changed:
                self.changed.notify_all()

    def _note_written(self, pieces: Iterable[int], state: int) -> None:
        """Note the state of pieces that are written; one that was forgotten stays forgotten."""
        with self.changed:
            self._note((piece for piece in pieces if self.states[piece] == WRITTEN), state)

    def _in_use(self) -> _Use:
        return _Use(self)

    def enter(self) -> None:
        """Keep the file open for one call."""
        with self.changed:
            if self._closed:
                raise ValueError("the partial file is closed")
            self._users += 1

    def leave(self) -> None:
        """End what ``enter`` began."""
        with self.changed:
            self._users -= 1
            self.changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Close both files when nobody is in the midst of a call."""
        with self.changed:
            already, self._closed = self._closed, True
            self.changed.wait_for(lambda: not self._users)
        if not already:
            os.close(self._data)
            os.close(self._notes)

    def discard(self) -> None:
        """Close it and remove both files."""
        self.close()
        discard(self._files, self._path)


class _Use:
    """Holds a partial file open: a descriptor's number must not become another file's."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial

    def __enter__(self) -> None:
        self._partial.enter()

    def __exit__(self, *_: object) -> None:
        self._partial.leave()


def have(files: Files, path: str) -> int:
    """Return about how many bytes of a partial file are there, without opening it for writing."""
    try:
        with files.open_read(path + SUFFIX, follow=False) as notes:
            head = _parsed(notes.read(_HEADER))
            kept = notes.read()
    except FileNotFoundError:
        found = files.stat(path)
        return found.size if found is not None else 0
    size = head.get("size") if head is not None else None
    return min(sum(map(bool, kept)) * PIECE, size) if isinstance(size, int) else 0


def discard(files: Files, path: str) -> None:
    """Remove a partial file and its notes."""
    files.discard(path)
    files.discard(path + SUFFIX)


def boot_id(files: Files) -> str:
    """Return what names this boot of the kernel (random(4)); empty where it does not tell."""
    with suppress(OSError):
        return files.read_text("/proc/sys/kernel/random/boot_id", 64).strip()
    return ""


def _parsed(data: bytes) -> dict[str, object] | None:
    if not data.strip(b"\0"):
        return None
    try:
        head = json.loads(data)
    except (ValueError, RecursionError):
        head = {}
    return head if isinstance(head, dict) else {}
