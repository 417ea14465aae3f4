"""Listening sockets and the threads behind them: one thread a connection."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

from hub.requests import Reader, Request
from hub.sending import Sender, StoppingError

#: How long the end of a thread is waited for, in seconds.
PATIENCE = 10.0


class Door:
    """Listens on a port of 127.0.0.1 and answers each request by ``serve(request, sender)``."""

    def __init__(
        self,
        serve: Callable[[Request, Sender], bool],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._serve = serve
        self._tls = tls
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._stopping = threading.Event()
        #: What went wrong in a thread; a test that passes by such an error would say nothing.
        self.failures: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"hub {self.port}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and wait for the threads."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()
        with self._lock:
            left = dict(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(PATIENCE)
            if thread.is_alive():
                self.failures.append(RuntimeError(f"{thread.name} does not end"))

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._run, args=(connection,), daemon=True)
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _run(self, raw: socket.socket) -> None:
        connection = raw
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(raw, server_side=True, suppress_ragged_eofs=True)
                with self._lock:
                    self._open[connection] = self._open.pop(raw)
            reader, sender = Reader(connection.recv), Sender(connection, self._stopping)
            while (request := reader.next()) is not None:
                if not self._serve(request, sender):
                    break
        except (OSError, StoppingError):
            pass  # the client has gone, or does not trust the certificate; or we stop
        except BaseException as error:  # noqa: BLE001 - reported when the hub stops
            self.failures.append(error)
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            with self._lock:
                self._open.pop(connection, None)
                self._open.pop(raw, None)
            connection.close()
