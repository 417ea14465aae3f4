"""Asks over a bare connection, so that a test sees what came, byte by byte."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass
class Seen:
    """What came over a connection until it ended, or for so long."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def length(self) -> int | None:
        return int(self.headers["content-length"]) if "content-length" in self.headers else None


def ask(
    url: str, method: str = "GET", *, most: int = 1 << 24, seconds: float = 10.0, **headers: str
) -> Seen | None:
    """Return what comes, at most so many bytes of a body; None where nothing comes."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    data = b""
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        connection.settimeout(seconds)
        try:
            while len(data) < most and (more := connection.recv(65536)):
                data += more
        except (TimeoutError, ConnectionResetError):
            pass
    if not data:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    named = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in rest)}
    return Seen(int(first.split()[1]), named, body)
