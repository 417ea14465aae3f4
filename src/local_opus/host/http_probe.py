"""HTTP to whatever holds a port, within a hard time limit and a bound on what is read.

A server that hangs, drips a byte now and then, sends without an end or is none at all is what a
probe is for: each is a ProbeError that says so, at the latest when the time is over.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse

#: Bytes of an answer that are read; /health is some hundred, a canary's stream some thousand.
LIMIT = 256 * 1024


class ProbeError(Exception):
    """There was no proper answer; the text says what there was instead, in a few words.

    ``status`` is that of an answer in HTTP that is no success.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Reply:
    """A whole answer: its body, and the seconds that it took."""

    status: int
    body: bytes
    seconds: float


class _Limit:
    """Shuts a connection when its time is over: reads that wait then end, however they wait."""

    def __init__(self, connection: HTTPConnection, seconds: float) -> None:
        self.over = False
        self._connection = connection
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True
        self._timer.start()

    def _shut(self) -> None:
        self.over = True
        if (open_socket := self._connection.sock) is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def lift(self) -> None:
        """Let the connection be."""
        self._timer.cancel()


@contextmanager
def _asked(
    address: str,
    port: int,
    path: str,
    seconds: float,
    payload: object,
    headers: Mapping[str, str] | None,
) -> Iterator[HTTPResponse]:
    connection = HTTPConnection(address, port, timeout=seconds)
    limit = _Limit(connection, seconds)
    body = None if payload is None else json.dumps(payload).encode()
    sent = {"Connection": "close", **(headers or {})}
    if body is not None:
        sent["Content-Type"] = "application/json"
    try:
        connection.request("GET" if body is None else "POST", path, body=body, headers=sent)
        kept = connection.sock  # the response takes it over, and the limit must still reach it
        response = connection.getresponse()
        connection.sock = connection.sock or kept
        yield response
        if limit.over:  # what was read is cut short, and looks like its end
            raise ProbeError(f"no whole answer within {seconds:g} s")
    except (OSError, HTTPException, ValueError) as error:
        raise ProbeError(_words(error, seconds, over=limit.over)) from error
    finally:
        limit.lift()
        connection.close()


def _words(error: Exception, seconds: float, *, over: bool) -> str:
    if over or isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, HTTPException) and not isinstance(error, ConnectionError):
        return "what answers does not speak HTTP"
    said = error.strerror if isinstance(error, OSError) else None
    return (said or str(error) or type(error).__name__).lower()


def get(
    address: str,
    port: int,
    path: str,
    *,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """GET; return the answer. Raises ProbeError where none is whole in time, or too long."""
    begin = time.perf_counter()
    with _asked(address, port, path, seconds, None, headers) as response:
        body = response.read(LIMIT + 1)
    if len(body) > LIMIT:
        raise ProbeError(f"the answer is longer than {LIMIT} bytes")
    return Reply(response.status, body, time.perf_counter() - begin)


def post_lines(
    address: str,
    port: int,
    path: str,
    payload: object,
    *,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Iterator[tuple[float, bytes]]:
    """POST; yield each line of the answer with the seconds since the request was made.

    Raises ProbeError as ``get``, and for a status other than 200.
    """
    begin = time.perf_counter()
    read = 0
    with _asked(address, port, path, seconds, payload, headers) as response:
        if response.status != 200:  # noqa: PLR2004 - HTTP OK
            said = response.read(LIMIT).decode(errors="replace")
            raise ProbeError(f"status {response.status}{_message(said)}", response.status)
        while line := response.readline(LIMIT):
            read += len(line)
            if read > LIMIT:
                raise ProbeError(f"the answer is longer than {LIMIT} bytes")
            yield time.perf_counter() - begin, line.strip()


def _message(body: str) -> str:
    """Return the message of one of our server's errors, one short line; empty for any other."""
    try:
        said = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
    return ": " + "".join(one for one in said if one.isprintable())[:200]
