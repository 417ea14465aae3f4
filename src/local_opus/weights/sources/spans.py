"""Which connection brings which pieces of a file: a piece is written by the one that took it.

Two that wrote the same piece could put bytes there after others of it were hashed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from local_opus.host.partials import MISSING, PIECE

if TYPE_CHECKING:
    from local_opus.host.partials import Partial

#: Pieces of one request, 16 MiB: so few requests that they cost nothing, and so short that the
#: hash, which is in order, finds what it reads in the page cache.
SPAN = 64
_FREE = 0
_WAIT = 0.2
#: Seconds in which a server's answers to other connections come.
_OTHERS = 2.0


class Spans:
    """The pieces that are missing, and who brings them; connections are numbers from 0 on.

    Threads share it: it is guarded by the lock of the partial file, as the pieces' states are.
    """

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._owners = bytearray(partial.count)
        #: Bytes of a piece that have come when its connection broke.
        self._partway: dict[int, int] = {}
        self._alone: int | None = None

    def claim(self, number: int, stopped: Callable[[], bool]) -> range | None:
        """Take the next missing pieces; None where there is nothing left for this connection.

        Waits while others bring what is left: they may have to give it back.
        """
        with self._partial.changed:
            while not stopped() and self._alone in {None, number}:
                first = self._next(0)
                if first is not None:
                    last = first + 1
                    while last < min(first + SPAN, self._partial.count) and self._is_free(last):
                        last += 1
                    self._owners[first:last] = bytes([number + 1]) * (last - first)
                    return range(first, last)
                if MISSING not in self._partial.states:
                    return None
                self._partial.changed.wait(_WAIT)
            return None

    def start(self, span: range) -> int:
        """Return the offset of the first byte of a span that has not come yet."""
        return span.start * PIECE + self._partway.get(span.start, 0)

    def give_back(self, number: int) -> None:
        """Let others take what a connection took and has not brought."""
        with self._partial.changed:
            while (piece := self._owners.find(number + 1)) >= 0:
                self._owners[piece] = _FREE
            self._partial.changed.notify_all()

    def brought(self, piece: int) -> None:
        """Note that all bytes of a piece were written; the caller holds the lock."""
        self._partial.mark(piece)
        self._partway.pop(piece, None)
        self._owners[piece] = _FREE

    def bring_alone(self, number: int) -> bool:
        """Let no other connection take pieces: without ranges each would bring all of them.

        Return False where another one does that already. What others have taken is waited for a
        moment: they learn the same, and give it back.
        """
        with self._partial.changed:
            if self._alone not in {None, number}:
                return False
            self._alone = number
            self._partial.changed.wait_for(lambda: not self._others_own(number), _OTHERS)
            return True

    def _others_own(self, number: int) -> bool:
        own = self._owners.count(number + 1)
        return self._owners.count(_FREE) + own < len(self._owners)

    def owns(self, number: int, offset: int) -> bool:
        """Whether a connection may write at an offset; one that arrives at a free piece takes it.

        The caller holds the lock.
        """
        piece, within = divmod(offset, PIECE)
        if within == 0 and self._is_free(piece):
            self._owners[piece] = number + 1
        return self._owners[piece] == number + 1

    def keep_partway(self, number: int, begin: int, offset: int) -> None:
        """Note what a connection that ends at ``offset`` has brought of a piece.

        It has written from ``begin`` on, where it owned pieces.
        """
        piece, within = divmod(offset, PIECE)
        with self._partial.changed:
            if not within or piece >= self._partial.count or self._owners[piece] != number + 1:
                return
            known = self._partway.get(piece, 0)
            if begin <= piece * PIECE + known:
                self._partway[piece] = max(known, within)

    def _next(self, piece: int) -> int | None:
        """Return the first free piece from ``piece`` on."""
        states = self._partial.states
        while (piece := states.find(MISSING, piece)) >= 0:
            if self._owners[piece] == _FREE:
                return piece
            piece += 1
        return None

    def _is_free(self, piece: int) -> bool:
        return self._owners[piece] == _FREE and self._partial.states[piece] == MISSING
