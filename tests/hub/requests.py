"""What a client asked, read off its connection, and the record of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

LIMIT = 1 << 20


@dataclass
class Request:
    """One request, and what became of it. ``place`` is "api", "resolve" or "cdn"."""

    method: str
    target: str
    headers: dict[str, str]  # names in small letters
    body: bytes = b""
    place: str = ""
    #: The file's path in its repository, where the address names one.
    file: str | None = None
    #: The status, 0 where the connection was closed instead; the bytes of the body that were sent.
    status: int = 0
    sent: int = 0
    #: The kinds of mischief that were done to it.
    mischief: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The path of the address, as it came."""
        return self.target.partition("?")[0]

    @property
    def paths(self) -> list[str]:
        """What a pattern is compared with: the file's path in its repository, and the address's."""
        return [path for path in (self.file, self.path) if path is not None]

    @property
    def segments(self) -> list[str]:
        """The parts of the path between its slashes, unquoted."""
        return [unquote(part) for part in self.path.split("/")[1:]]

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name of the query."""
        values = parse_qs(self.target.partition("?")[2], keep_blank_values=True)
        return {name: value[-1] for name, value in values.items()}

    @property
    def host(self) -> str:
        """The Host header."""
        return self.headers.get("host", "")

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")

    @property
    def authorization(self) -> str | None:
        """The Authorization header."""
        return self.headers.get("authorization")

    @property
    def is_last(self) -> bool:
        """Whether the client wants the connection to end with the answer."""
        return self.headers.get("connection", "").lower() == "close"

    @property
    def token(self) -> str | None:
        """The token of a Bearer authorization."""
        kind, _, token = (self.authorization or "").partition(" ")
        return token if kind == "Bearer" and token else None

    def as_json(self) -> dict[str, object]:
        """Return what is recorded of it."""
        names = ("method", "target", "headers", "place", "file", "status", "sent", "mischief")
        return {name: getattr(self, name) for name in names}


class Reader:
    """Reads requests off a connection, one after the other."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._buffer = b""

    def next(self) -> Request | None:
        """Return the next request; None where the client has gone or speaks no HTTP."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[1].startswith("/"):
            return None
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        while len(self._buffer) < length:
            if not self._more():
                return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Request(words[0], words[1], headers, body)

    def _more(self) -> bool:
        if len(self._buffer) > LIMIT:
            return False
        data = self._receive(65536)
        self._buffer += data
        return bool(data)
