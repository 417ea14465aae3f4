"""Sends an answer over a connection, well or badly, and counts the bytes of its body."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator

from hub.answers import Answer, Piece, Span, size_of
from hub.requests import Request

STEP = 1 << 20
#: Pauses between the steps of a slow answer, in seconds.
BEAT = 0.02
FILLER = bytes(65536)


class StoppingError(Exception):
    """The hub is being stopped."""


class Sender:
    """One connection's outgoing side."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self._encrypted = isinstance(connection, ssl.SSLSocket)

    def send(self, request: Request, answer: Answer) -> bool:
        """Send the answer; return whether the connection is good for another request.

        Raises OSError where the client has gone, StoppingError where the hub is being stopped.
        """
        self._wait(answer.delay)
        if answer.drops:
            return self._end(answer)
        request.status = answer.status
        keeps = not answer.ends_connection and not request.is_last
        head = answer.head(keeps=keeps)
        if request.method == "HEAD":
            self._connection.sendall(head)
            return keeps
        # The head goes in the first packet of the body.
        soon = answer.pieces and answer.stall_at != 0 and not self._encrypted
        more = socket.MSG_MORE if soon else 0
        self._connection.sendall(head, more)
        for piece in self._steps(answer, request):
            self._send_piece(piece, request, chunked=answer.framing == "chunked")
        if answer.cut_at is not None and answer.cut_at < answer.size:
            return self._end(answer)
        if answer.framing == "chunked":
            self._connection.sendall(b"0\r\n\r\n")
        return keeps

    def _steps(self, answer: Answer, request: Request) -> Iterator[Piece]:
        """Yield the body in steps, with the pauses between them."""
        limit = answer.size if answer.cut_at is None else min(answer.cut_at, answer.size)
        step = STEP if answer.rate is None else max(1, int(answer.rate * BEAT))
        done = 0
        pieces = iter(answer.pieces)
        while True:
            piece = next(pieces, None)
            if piece is None or done >= limit:
                break
            while piece is not None and size_of(piece) and done < limit:
                most = min(step, limit - done)
                if answer.stall_at is not None and done <= answer.stall_at:
                    if done == answer.stall_at:
                        self._wait(answer.stall_for)
                    else:
                        most = min(most, answer.stall_at - done)
                now, piece = split(piece, most)
                yield now
                done += size_of(now)
                if answer.rate is not None:
                    self._wait(size_of(now) / answer.rate)
        while answer.endless:
            if self._stopping.is_set():
                raise StoppingError
            yield FILLER[: min(step, len(FILLER))]
            if answer.rate is not None:
                self._wait(step / answer.rate)

    def _send_piece(self, piece: Piece, request: Request, *, chunked: bool) -> None:
        if chunked:
            self._connection.sendall(b"%x\r\n" % size_of(piece))
        if isinstance(piece, bytes):
            self._connection.sendall(piece)
            request.sent += len(piece)
        elif piece.content.path is None or self._encrypted:
            self._connection.sendall(piece.content.read(piece.start, piece.stop))
            request.sent += piece.size
        else:
            self._send_file(piece, request)
        if chunked:
            self._connection.sendall(b"\r\n")

    def _send_file(self, piece: Span, request: Request) -> None:
        source = os.open(piece.content.path, os.O_RDONLY)
        try:
            start = piece.start
            while start < piece.stop:
                count = os.sendfile(self._connection.fileno(), source, start, piece.stop - start)
                if not count:
                    raise OSError(f"{piece.content.path} has become shorter")
                start += count
                request.sent += count
        finally:
            os.close(source)

    def _end(self, answer: Answer) -> bool:
        if answer.resets:
            linger = struct.pack("ii", 1, 0)
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False

    def _wait(self, seconds: float) -> None:
        """Wait, but no longer than the hub lives and the client stays."""
        end = time.monotonic() + seconds
        gone = select.poll()
        gone.register(self._connection, select.POLLRDHUP)
        while (left := end - time.monotonic()) > 0:
            if self._stopping.wait(min(left, BEAT)):
                raise StoppingError
            if left > BEAT and gone.poll(0):
                raise ConnectionResetError("the client has gone")


def split(piece: Piece, size: int) -> tuple[Piece, Piece | None]:
    """Return the first ``size`` bytes of a piece, and the rest of it."""
    if size_of(piece) <= size:
        return piece, None
    if isinstance(piece, bytes):
        return piece[:size], piece[size:]
    middle = piece.start + size
    return Span(piece.content, piece.start, middle), Span(piece.content, middle, piece.stop)
