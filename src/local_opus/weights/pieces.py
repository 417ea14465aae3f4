"""Hashes pieces of many files on every core."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Lock

from local_opus.weights.digest import How, hash_piece
from local_opus.weights.door import Progress, Reader

#: How many times longer than blake3 a digest takes; it only puts pieces in order.
_COST = {"blake3": 1, "sha256": 4, "git_sha1": 4}


@dataclass(frozen=True)
class Piece:
    """``length`` bytes of a file from byte ``begin`` on, to be hashed ``how``."""

    path: str
    begin: int
    length: int
    how: How

    @property
    def place(self) -> str:
        """Its bytes, in words."""
        return f"bytes {self.begin}-{self.begin + self.length - 1}"

    @property
    def cost(self) -> int:
        """How long it takes, in bytes of blake3."""
        return self.length * _COST[self.how]


class StoppedError(Exception):
    """The caller gave up; threads that still hash end at their next read."""


class Meter:
    """Adds up the bytes that several threads read."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = Lock()
        self._stopped = False

    def stop(self) -> None:
        """Make every further ``add`` raise StoppedError."""
        self._stopped = True

    def check(self, _count: int = 0) -> None:
        """Raise StoppedError where the caller gave up; for bytes that count no second time."""
        if self._stopped:
            raise StoppedError

    def add(self, count: int) -> None:
        """Count bytes and report them. Raises as ``check`` does."""
        self.check()
        if self._progress is not None:
            with self._lock:
                self._done += count
                self._progress("verify", min(self._done, self._total), self._total)


def hash_pieces(
    host: Reader, folder: str, pieces: Sequence[Piece], meter: Meter, pool: Executor
) -> dict[Piece, str | OSError]:
    """Return the digest of each piece, or why it can't be read.

    The largest begin first: the last threads to end then have little left to do.
    """

    def digest(piece: Piece) -> str | OSError:
        path = f"{folder}/{piece.path}"
        try:
            with host.files.open_read(path, follow=False) as stream:
                return hash_piece(stream, piece.begin, piece.length, piece.how, meter.add)
        except OSError as error:
            return error

    ordered = sorted(set(pieces), key=lambda piece: piece.cost, reverse=True)
    return dict(zip(ordered, pool.map(digest, ordered), strict=True))
