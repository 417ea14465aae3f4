"""The connections of a fetch: looked at before they are used, and ended from outside.

A proxy's are its own: it is configured.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from local_opus.host.leading import DownloadError, RefusedHostError, TrustedHosts

if TYPE_CHECKING:
    from urllib3 import HTTPResponse

#: Connections that are kept open for the next request.
POOL = 16
#: Seconds for the whole head of an answer: each byte of it could else come just before it stalls.
HEAD_TIMEOUT = 60.0


class Connections:
    """Knows the open connections; threads may share it."""

    def __init__(self, trusted: TrustedHosts) -> None:
        self.trusted = trusted
        self.aborted = False
        self._open: WeakSet[HTTPConnection] = WeakSet()
        #: Those that wait for the head of an answer, and since when.
        self._asked: dict[HTTPConnection, float] = {}
        self._lock = threading.Lock()

    def abort(self) -> None:
        """End what other threads wait for: their reads fail now, and what they ask for later."""
        with self._lock:
            self.aborted = True
            connections = list(self._open)
        _shut(connections)

    def end_late(self) -> None:
        """End what waits for the head of an answer for too long; to be called now and then."""
        now = monotonic()
        with self._lock:
            late = [one for one, since in self._asked.items() if now - since > HEAD_TIMEOUT]
        _shut(late)

    @contextmanager
    def waiting(self, connection: HTTPConnection) -> Iterator[None]:
        """Let ``end_late`` know a connection that waits for an answer's head.

        Raises DownloadError where that took too long.
        """
        with self._lock:
            since = self._asked[connection] = monotonic()
        error: Exception | None = None
        try:
            yield
        except Exception as caught:  # noqa: BLE001 - raised again below
            error = caught
        finally:
            with self._lock:
                del self._asked[connection]
        # What was ended looks like a broken answer, or like a whole one with a shorter head.
        if monotonic() - since > HEAD_TIMEOUT:
            raise DownloadError(f"no answer came within {HEAD_TIMEOUT:.0f} s") from error
        if error is not None:
            raise error

    def opened(self, connection: HTTPConnection, sock: socket) -> socket:
        """Look at a new connection before anything is sent over it; return its socket.

        Raises RefusedHostError, and DownloadError after ``abort``.
        """
        try:
            self.trusted.look_at(connection.host, sock)
        except RefusedHostError:
            sock.close()
            raise
        with self._lock:
            self._open.add(connection)
            if self.aborted:
                sock.close()
                raise DownloadError("ended here")
        return sock


class Adapter(HTTPAdapter):
    """Makes connections that ``connections`` knows."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        super().__init__(pool_connections=POOL, pool_maxsize=POOL)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the base's
        """Let the pools make connections of these kinds."""
        super().init_poolmanager(*args, **kwargs)
        known = self._connections

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket:
                known.trusted.look_up(self.host, self.port)
                return known.opened(self, super()._new_conn())

            def getresponse(self) -> HTTPResponse:  # type: ignore[override]
                with known.waiting(self):
                    return super().getresponse()

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket:
                known.trusted.look_up(self.host, self.port)
                return known.opened(self, super()._new_conn())

            def getresponse(self) -> HTTPResponse:  # type: ignore[override]
                with known.waiting(self):
                    return super().getresponse()

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _shut(connections: Iterable[HTTPConnection]) -> None:
    for connection in connections:
        sock = connection.sock
        if sock is not None:
            with suppress(OSError):  # it is closed already
                sock.shutdown(SHUT_RDWR)
