"""One client's connection: it may be slow, but not for ever, and many can't lock the others out."""

from __future__ import annotations

import asyncio
import resource

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds that a request may take to arrive, from the connection or the answer before it to its
#: last byte: 4 MiB over a line of 1 Mbit/s.
ARRIVAL = 40.0
#: Connections that wait in the kernel, and that asyncio accepts in one go.
BACKLOG = 128
#: Open files that connections leave to the rest: to the engine's pipes and a restart, and to what
#: asyncio has accepted and not handed over yet, some rounds of its loop later. Where it can't
#: accept one, Python 3.11 logs that BACKLOG times at once.
RESERVE = 64 + 6 * BACKLOG
_ARRIVING = (h11.IDLE, h11.SEND_BODY)


def raise_limit(wanted: int) -> None:
    """Let this process have ``wanted`` connections, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + RESERVE
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    if resource.RLIM_INFINITY != soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Connection(H11Protocol):  # type: ignore[misc]  # mypy does not follow uvicorn's imports
    """HTTP/1.1 that ends a connection whose request does not arrive.

    uvicorn waits for ever for the first byte. A thousand idle connections would take every open
    file that the process may have, and asyncio then logs each one that it can't accept.
    """

    _timer: asyncio.TimerHandle | None = None
    #: Since when a request is awaited, in seconds of the loop's clock.
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for a request; where there are too many, the one that waits longest is ended."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.most():
            waiting = (other for other in self.connections if other.is_waiting)
            min(waiting, key=lambda other: other._since).give_way()  # noqa: SLF001 - its own class

    def give_way(self) -> None:
        """End; it is forgotten a round of the loop later, and not to be chosen till then."""
        self._stop_timer()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        super().connection_lost(exc)
        self._stop_timer()

    @staticmethod
    def most() -> int:
        """Return how many connections there may be."""
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return 1 << 20 if soft == resource.RLIM_INFINITY else max(1, soft - RESERVE)

    @property
    def is_waiting(self) -> bool:
        """Whether its request has not arrived."""
        return self._timer is not None

    def _watch(self) -> None:
        if self.conn.their_state not in _ARRIVING or self.transport.is_closing():
            self._stop_timer()
        elif self._timer is None:
            self._since = self.loop.time()
            self._timer = self.loop.call_later(ARRIVAL, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
