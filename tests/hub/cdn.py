"""The CDN: content at signed addresses, for as long as a signature is good."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote, urlencode

from hub import files
from hub.answers import Answer
from hub.repositories import Entry
from hub.requests import Request


@dataclass(frozen=True)
class _Signed:
    """What an address gives access to, until a moment of ``time.monotonic``."""

    entry: Entry
    until: float


class Cdn:
    """Knows the addresses that it gave out. ``url`` is set by who opens its door."""

    def __init__(self, lifetime: float) -> None:
        self.url = ""
        self.lifetime = lifetime
        self._lock = threading.Lock()
        self._signed: dict[str, _Signed] = {}
        self._given = 0

    def address(self, repository: str, entry: Entry) -> str:
        """Return a new signed address of the file."""
        with self._lock:
            self._given += 1
            signature = sha256(f"{id(self)} {self._given}".encode()).hexdigest()
            self._signed[signature] = _Signed(entry, time.monotonic() + self.lifetime)
        query = urlencode(
            {
                "response-content-disposition": files.disposition(entry),
                "Expires": str(int(time.time() + self.lifetime)),
                "Policy": sha256(entry.path.encode()).hexdigest()[:32],
                "Signature": signature,
                "Key-Pair-Id": "K2FPYV99P2N66Q",
            }
        )
        return f"{self.url}/repos/{quote(repository)}/{entry.etag}?{query}"

    def expire(self) -> None:
        """Let all addresses that were given out so far be refused."""
        with self._lock:
            self._signed.clear()

    def answer(self, request: Request) -> Answer:
        """Return the content of a signed address."""
        with self._lock:
            signed = self._signed.get(request.query.get("Signature", ""))
        if signed is None or time.monotonic() > signed.until:
            return files.expired()
        if request.segments[-1] != signed.entry.etag or request.method not in {"GET", "HEAD"}:
            return files.expired()
        request.file = signed.entry.path
        headers = {"Content-Disposition": files.disposition(signed.entry)}
        return files.content(request, signed.entry, signed.entry.etag, **headers)
