"""Where the bytes of one file are: at its address, or where that leads to for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_opus.weights.sources.arrival import OtherFileError
from local_opus.weights.sources.replies import PASSING, Address
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host.downloads import Answer, Web
    from local_opus.values import CatalogFile

_ERRORS = 400  # the first of HTTP's statuses of errors


class Place:
    """Asks for parts of a file; threads may share it.

    A hub leads to its store, at an address that is good for some time: it is asked again where the
    last answer came from, without a redirect.
    """

    def __init__(self, web: Web, address: Address, file: CatalogFile) -> None:
        self._web = web
        self._address = address
        self._file = file
        self._moved_to: str | None = None
        self._etag: str | None = None
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Ask the address itself the next time: another of its stores may be well."""
        self._moved_to = None

    @contextmanager
    def ask(self, wanted: tuple[int, int] | None) -> Iterator[Answer]:
        """Ask for the bytes from one offset up to another; None: for all. Raises DownloadError."""
        start, end = wanted or (0, None)
        moved = self._moved_to
        if moved is not None:
            with self._web.get(moved, start=start, end=end) as answer:
                if _is_of_use(answer):
                    yield answer
                    return
            self._moved_to = None  # it has expired
        url, token = self._address.url, self._address.token
        with self._web.get(url, start=start, end=end, token=token) as answer:
            if answer.url != url and _is_of_use(answer):
                self._moved_to = answer.url
            yield answer

    def compare(self, answer: Answer) -> None:
        """Raise OtherFileError where the ETag is another than in the answers before."""
        etag = answer.headers.get("etag")
        with self._lock:
            known, self._etag = self._etag, etag or self._etag
        if known is not None and etag is not None and known != etag:
            raise OtherFileError(
                f"{self._file.path} from {self._address.where} changed while it came: its ETag was "
                f"{printable(known)} and is {printable(etag)}",
                "Run this again; if it stays so, the source serves another file now and then.",
            )


def _is_of_use(answer: Answer) -> bool:
    return answer.status < _ERRORS or answer.status in PASSING
