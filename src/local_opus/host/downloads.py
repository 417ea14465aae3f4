"""Downloads over HTTP: one request, its status, its length, and its bytes as they arrive.

Apart from ``network`` because ``requests`` takes a tenth of a second to import and only a fetch
needs it.

Whoever a redirect leads to gets no credentials; where it may lead at all, ``leading`` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import IncompleteRead
from http.cookiejar import DefaultCookiePolicy
from time import monotonic, time
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from local_opus.host.connections import Adapter, Connections
from local_opus.host.leading import (
    DownloadError,
    RefusedHostError,
    TrustedHosts,
    UnreachableError,
    is_closed_way,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["Answer", "DownloadError", "RefusedHostError", "UnreachableError", "Web", "get"]

#: Seconds for a connection, and for the next bytes of one that stalls.
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
#: A hub redirects once to its store and the store perhaps once more.
MAX_REDIRECTS = 5
_CHUNK = 256 * 1024
#: Seconds for the body of a redirect.
_DRAIN = 1.0
_REDIRECTS = {301, 302, 303, 307, 308}
#: What urllib3 begins with: the connection object.
_WHO = re.compile(r"^(?:<.*? object at 0x[0-9a-f]+>|\w+\(host=.*?\)): ")
_MAX_DIGITS = 19  # of a 64-bit number


@dataclass(frozen=True)
class Answer:
    """What a server answered; the header names are in lower case.

    ``url`` is where the answer came from in the end, ``origin_headers`` are those of the first
    answer: the hub states a file's commit and digest there and redirects.
    """

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    url: str
    origin_headers: Mapping[str, str]

    def number(self, name: str) -> int | None:
        """Return a header that is a plain number, None where it is missing or none."""
        return _number(self.headers.get(name, ""))

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait (RFC 9110, 10.2.3); None where it does not."""
        text = self.headers.get("retry-after", "").strip()
        if (seconds := _number(text)) is not None:
            return float(seconds)
        try:
            date = parsedate_to_datetime(text)
            # HTTP's dates are in GMT, also those of an old form that does not say so.
            date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
            return max(0.0, date.timestamp() - time())
        except (ValueError, OverflowError):
            return None


class Web:
    """The web as one fetch uses it: connections that are kept, hosts that are trusted.

    ``trusted`` are host names that the user configured. Threads may share it.
    """

    def __init__(self, trusted: Iterable[str] = (), *, read_timeout: float = READ_TIMEOUT) -> None:
        self.trusted = TrustedHosts(trusted)
        self._timeout = (CONNECT_TIMEOUT, read_timeout)
        self._connections = Connections(self.trusted)
        self._session = _Session()
        # requests would send what ~/.netrc says of a host, and cookies of an earlier answer.
        self._session.auth = lambda request: request
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Adapter(self._connections))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def abort(self) -> None:
        """End what other threads wait for: their reads fail now, and what they ask for later."""
        self._connections.abort()

    def end_late(self) -> None:
        """End what waits for the head of an answer for too long; to be called now and then."""
        self._connections.end_late()

    @contextmanager
    def get(
        self, url: str, *, start: int = 0, end: int | None = None, token: str | None = None
    ) -> Iterator[Answer]:
        """GET ``url`` from byte ``start`` on, up to and without ``end``; the whole without both.

        ``token`` goes to the host of ``url`` alone, and over plain HTTP to this machine alone.
        Raises DownloadError, also while the chunks are read.
        """
        headers = {"Accept-Encoding": "identity"}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            response, first = self._follow(url, headers, token)
            with response:
                yield Answer(
                    status=response.status_code,
                    headers=_lower(response.headers),
                    chunks=_chunks(response.raw),
                    url=str(response.url),
                    origin_headers=first,
                )
                if response.raw.length_remaining == 0:  # all was read: the next request may use it
                    response.raw.read()
        except (requests.RequestException, HTTPError) as error:
            raise _told(error) from error
        except (OSError, AttributeError, ValueError) as error:
            if (
                self._connections.aborted
            ):  # reading what ``abort`` closed fails in any of these ways
                raise DownloadError("ended here") from error
            raise

    def _follow(
        self, url: str, headers: dict[str, str], token: str | None
    ) -> tuple[requests.Response, Mapping[str, str]]:
        origin = urlsplit(url)
        first: Mapping[str, str] | None = None
        for _ in range(MAX_REDIRECTS + 1):
            parts = urlsplit(url)
            sent = dict(headers)
            own = (parts.scheme, parts.netloc) == (origin.scheme, origin.netloc)
            if token and own and is_closed_way(url):
                sent["Authorization"] = f"Bearer {token}"
            response = self._session.get(
                url, headers=sent, stream=True, timeout=self._timeout, allow_redirects=False
            )
            first = first or _lower(response.headers)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not target:
                return response, first
            _drain(response)
            response.close()
            url = self.trusted.allowed(url, target, origin)
        raise RefusedHostError(f"it redirects more than {MAX_REDIRECTS} times")


@contextmanager
def get(url: str, *, start: int = 0, token: str | None = None) -> Iterator[Answer]:
    """GET ``url`` once; its own host counts as configured. Raises as ``Web.get`` does."""
    with Web([urlsplit(url).hostname or ""]) as web, web.get(url, start=start, token=token) as got:
        yield got


class _Session(requests.Session):
    """Leaves redirects alone: ``requests`` would look where one leads in any case."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the base's
        return None


def _chunks(raw: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield what arrives when it arrives: who fills a buffer first loses it where a line breaks."""
    while data := raw.read1(_CHUNK, decode_content=False):
        yield data


def _drain(response: requests.Response) -> None:
    """Read the short body of a redirect, so that its connection can be used again."""
    if (_number(response.headers.get("Content-Length", "")) or _CHUNK) >= _CHUNK:
        return
    end = monotonic() + _DRAIN
    with suppress(requests.RequestException, HTTPError, OSError):  # nobody needs it
        for _ in _chunks(response.raw):
            if monotonic() > end:
                return


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _number(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if plain else None


def _told(error: Exception) -> DownloadError:
    """Return what went wrong without the objects that requests prints around it."""
    if any(isinstance(one, IncompleteRead) for one in (error, *error.args)):
        return DownloadError("the connection ended early")
    reason = error.args[0] if error.args else error
    reason = getattr(reason, "reason", reason)
    while isinstance(reason, Exception) and isinstance((reason.args or ("",))[-1], Exception):
        reason = reason.args[-1]  # ('Connection aborted.', RemoteDisconnected('...')), say
    said = getattr(reason, "strerror", None) or reason
    text = str(said).strip() or type(error).__name__
    text = _WHO.sub("", text.splitlines()[0])
    unreachable = isinstance(error, requests.ConnectionError) and "Failed to" in str(error)
    return UnreachableError(text) if unreachable else DownloadError(text)
