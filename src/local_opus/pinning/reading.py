"""Small parts of what lies at an address: whole small files, and the header of a large one."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_opus import clock
from local_opus.errors import LocalOpusError
from local_opus.host.downloads import DownloadError, RefusedHostError
from local_opus.values import Verdict
from local_opus.weights import gguf
from local_opus.weights.gguf import GgufInfo
from local_opus.weights.sources.replies import OK, PARTIAL_CONTENT, PASSING, Address
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host.downloads import Answer, Web

#: Bytes of a file that is read as a whole at most: vocabularies have 30 MB.
MAX_WHOLE = 64 * 1024 * 1024
#: Bytes of a header that are tried first; most have less than 8 MB.
_FIRST = 1024 * 1024
_ATTEMPTS = 3
#: Seconds between two tries, and the longest that a server may ask to wait.
_PAUSE, _LONGEST_PAUSE = 0.5, 20.0

_RANGE = re.compile(r"bytes (\d{1,19})-")


class _PassingError(Exception):
    """Trying again may help; ``pause`` is in seconds."""

    def __init__(self, text: str, pause: float = _PAUSE) -> None:
        super().__init__(text)
        self.pause = pause


def whole(web: Web, address: Address, size: int) -> bytes:
    """Return the first ``size`` bytes at an address; the caller knows their digest."""
    if size > MAX_WHOLE:
        raise LocalOpusError(
            f"{address.where}: has {size} bytes and no sha256 that the hub states",
            "Use another repository: large files of a sound one are kept by their sha256.",
        )
    return _patiently(web, address, b"", size)


def header(web: Web, address: Address, size: int) -> GgufInfo:
    """Return the header of the GGUF of ``size`` bytes at an address; its data are not read.

    Nothing proves it yet: the sha256 of the whole does when it is fetched. Raises LocalOpusError
    where it is no sound GGUF of that size.
    """
    data = b""
    while True:
        end = min(size, gguf.MAX_HEADER, max(_FIRST, 2 * len(data)))
        data = _patiently(web, address, data, end)
        found = gguf.check(io.BytesIO(data), size)
        if isinstance(found, GgufInfo):
            return found
        cut = found.verdict is Verdict.TRUNCATED and end < min(size, gguf.MAX_HEADER)
        if not cut:
            raise LocalOpusError(
                f"{address.where}: {found.verdict}: {found.reason}",
                "It is no GGUF that can be served; choose another file.",
            )


def _patiently(web: Web, address: Address, have: bytes, end: int) -> bytes:
    """Return the first ``end`` bytes, of which ``have`` are there; tries again where that helps."""
    for attempt in range(_ATTEMPTS):
        try:
            with _opened(web, address, len(have), end) as answer:
                if answer.status == OK:  # the server knows no ranges
                    have = b""
                return have + _read(answer, end - len(have))
        except _PassingError as error:
            if attempt + 1 == _ATTEMPTS or error.pause > _LONGEST_PAUSE:
                raise _failed(address, str(error)) from error
            time.sleep(error.pause)
    raise AssertionError  # the last attempt returned or raised


def _read(answer: Answer, size: int) -> bytes:
    """Return ``size`` bytes of an answer: all of one that is for them alone, else the first."""
    data = bytearray()
    for chunk in answer.chunks:
        data += chunk
        if len(data) > size:
            break
    if len(data) < size:
        raise _PassingError(f"the answer ended after {len(data)} of {size} bytes")
    return bytes(data[:size])


@contextmanager
def _opened(web: Web, address: Address, start: int, end: int) -> Iterator[Answer]:
    """Ask for the bytes from ``start`` to ``end``; raises _PassingError where a retry may help."""
    try:
        with web.get(address.url, start=start, end=end, token=address.token) as answer:
            _require(answer, address)
            begins = _RANGE.match(answer.headers.get("content-range", ""))
            if answer.status == PARTIAL_CONTENT and (begins is None or int(begins[1]) != start):
                raise _PassingError("the answer is for another range")
            yield answer
    except RefusedHostError as error:
        raise _failed(address, str(error)) from error
    except DownloadError as error:
        if out_of_time := clock.blamed(str(error), address.where.partition("/")[0]):
            raise out_of_time from error
        raise _PassingError(str(error)) from error


def _require(answer: Answer, address: Address) -> None:
    if answer.status in PASSING:
        raise _PassingError(f"status {answer.status}", answer.retry_after or _PAUSE)
    if answer.status in {401, 403} and address.page is not None:
        who = "this token's account has not been let in" if address.token else "no token is set"
        raise LocalOpusError(
            f"{address.where}: is gated, and {who}",
            f"Accept the licence on {address.page}, and set HF_TOKEN to a token of that account.",
        )
    if answer.status not in {OK, PARTIAL_CONTENT}:
        raise LocalOpusError(
            f"{address.where}: status {answer.status}", "Check the address, then run this again."
        )
    served = answer.origin_headers.get("x-repo-commit")
    if address.commit is not None and served not in {None, address.commit}:
        raise LocalOpusError(
            f"{address.where}: commit {printable(str(served))} was served",
            "Look at HF_ENDPOINT, which may name a mirror that is behind.",
        )


def _failed(address: Address, text: str) -> LocalOpusError:
    return LocalOpusError(
        f"{address.where}: {printable(text)}", "Check the network and the address, then try again."
    )
