"""The network: the ports of this machine and HTTP to the server on it."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse

from local_opus.errors import KeyNeededError, LocalOpusError


class HttpStatusError(LocalOpusError):
    """The server answered with an error; ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.status = status


#: Returns the key for the server at an address and port; None: there is none.
KeyFor = Callable[[str, int], str | None]
_UNAUTHORIZED = 401


def no_key(_address: str, _port: int) -> str | None:
    """Know no key."""
    return None


class Network:
    """Sockets of this machine; ``key_for`` is asked by a server that wants a key, and not before.

    What it returns goes to whoever listens there: it looks who that is.
    """

    def __init__(self, key_for: KeyFor = no_key) -> None:
        self._key_for = key_for
        self._keys: dict[tuple[str, int], str] = {}

    @staticmethod
    def port_problem(address: str, port: int) -> str | None:
        """Try to bind; return why that fails, e.g. "address already in use", or None."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address, port))
                trial.listen(1)
            except OSError as error:
                return (error.strerror or errno.errorcode.get(error.errno or 0, "?")).lower()
        return None

    def _ask(
        self, address: str, port: int, method: str, path: str, payload: object, timeout: float
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Ask, and where a key is wanted ask again with it. Raises KeyNeededError without one."""
        used = self._keys.pop((address, port), None)
        connection, response = self._send(address, port, method, path, payload, timeout, used)
        if response.status == _UNAUTHORIZED:
            response.close()
            connection.close()
            used = self._key_for(address, port)
            if used is not None:
                again = self._send(address, port, method, path, payload, timeout, used)
                connection, response = again
            if response.status == _UNAUTHORIZED:
                response.close()
                connection.close()
                raise KeyNeededError(
                    f"http://{address}:{port}{path}: the server wants a key"
                    + (", and does not take this one" if used is not None else ""),
                    "Set LOCAL_OPUS_API_KEY to one that `local-opus keys add` made, or run this as "
                    "who installed it.",
                )
        if used is not None:
            self._keys[address, port] = used
        return connection, response

    @staticmethod
    def _send(
        address: str,
        port: int,
        method: str,
        path: str,
        payload: object,
        timeout: float,
        key: str | None,
    ) -> tuple[HTTPConnection, HTTPResponse]:
        connection = HTTPConnection(address, port, timeout=timeout)
        body = None if payload is None else json.dumps(payload).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        try:
            connection.request(method, path, body=body, headers=headers)
            return connection, connection.getresponse()
        except (OSError, HTTPException) as error:
            connection.close()
            raise LocalOpusError(
                f"http://{address}:{port}{path}: no answer ({error})",
                "Start the server with `local-opus start`.",
            ) from error

    def request_json(
        self,
        address: str,
        port: int,
        path: str,
        *,
        payload: object = None,
        timeout: float = 10.0,
    ) -> tuple[int, Mapping[str, object]]:
        """GET, or POST where there is a payload; return the status and the JSON object.

        Raises LocalOpusError when nothing answers or the answer is no JSON object.
        """
        method = "GET" if payload is None else "POST"
        connection, response = self._ask(address, port, method, path, payload, timeout)
        try:
            answer = json.loads(response.read())
        except (OSError, ValueError, HTTPException) as error:
            raise LocalOpusError(
                f"http://{address}:{port}{path}: the answer is no JSON ({error})",
                "Another program may hold this port; see `local-opus status`.",
            ) from error
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise LocalOpusError(
                f"http://{address}:{port}{path}: the answer is no JSON object",
                "Another program may hold this port; see `local-opus status`.",
            )
        return response.status, answer

    def wants_key(self, address: str, port: int, timeout: float = 10.0) -> bool:
        """Tell whether a server refuses who has no key. Raises LocalOpusError when none answers."""
        connection, response = self._send(address, port, "GET", "/health", None, timeout, None)
        response.close()
        connection.close()
        return response.status == _UNAUTHORIZED

    def stream_events(
        self, address: str, port: int, path: str, *, payload: object, timeout: float = 300.0
    ) -> Iterator[Mapping[str, object]]:
        """POST and yield each JSON event of a server-sent stream until ``[DONE]``.

        ``timeout`` is the longest wait for the next bytes. Raises HttpStatusError for an error
        status and LocalOpusError when the stream breaks off.
        """
        connection, response = self._ask(address, port, "POST", path, payload, timeout)
        where = f"http://{address}:{port}{path}"
        try:
            if response.status != 200:  # noqa: PLR2004 - HTTP OK
                raise HttpStatusError(response.status, f"{where}: {_message(response)}",
                                      "See `local-opus logs`.")  # fmt: skip
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                data = line[len(b"data: ") :].strip()
                if data == b"[DONE]":
                    return
                event = json.loads(data)
                if "error" in event:
                    raise LocalOpusError(f"{where}: {event['error'].get('message')}",
                                         "See `local-opus logs`.")  # fmt: skip
                yield event
            raise LocalOpusError(f"{where}: the stream broke off", "See `local-opus logs`.")
        except (OSError, ValueError, HTTPException) as error:
            raise LocalOpusError(f"{where}: {error}", "See `local-opus logs`.") from error
        finally:
            connection.close()


def _message(response: HTTPResponse) -> str:
    body = response.read(65536)
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status}"
