"""Downloads over HTTP: one request, its status, its length, and its bytes as they arrive.

Apart from ``network`` because ``requests`` takes a tenth of a second to import and only a fetch
needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

#: Seconds for a connection, and for the next bytes of one that stalls.
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
_CHUNK = 1024 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DownloadError(Exception):
    """The server could not be reached, or the connection broke; the text is one line."""


@dataclass(frozen=True)
class Answer:
    """What a server answered; the header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]

    def number(self, name: str) -> int | None:
        """Return a header that is a plain number, None where it is missing or none."""
        text = self.headers.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - digits of a 64-bit number


@contextmanager
def get(url: str, *, start: int = 0, token: str | None = None) -> Iterator[Answer]:
    """GET ``url`` from byte ``start`` on.

    ``token`` goes to the host of ``url`` alone: requests drops it where a redirect leads to
    another host, and it is not sent at all over plain HTTP but to this machine. Raises
    DownloadError, also while the chunks are read.
    """
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    parts = urlsplit(url)
    if token and (parts.scheme == "https" or parts.hostname in _LOOPBACK):
        headers["Authorization"] = f"Bearer {token}"
    try:
        with (
            requests.Session() as session,
            session.get(
                url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
            ) as response,
        ):
            yield Answer(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                chunks=response.raw.stream(_CHUNK, decode_content=False),
            )
    except (requests.RequestException, HTTPError) as error:
        raise DownloadError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    """Return what went wrong without the objects that requests prints around it."""
    reason = error.args[0] if error.args else error
    text = str(getattr(reason, "reason", reason)).strip() or type(error).__name__
    return text.rpartition("object at 0x")[2].partition(">: ")[2] or text.splitlines()[0]
