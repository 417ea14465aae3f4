"""What a server's answer means for a download: the bytes that were asked for, or why not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local_opus.errors import LocalOpusError
from local_opus.values import CatalogFile
from local_opus.weights.sources.arrival import mismatch
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host.downloads import Answer

OK, PARTIAL_CONTENT, NOT_SATISFIABLE = 200, 206, 416
#: Statuses that pass: request timeout, too many requests, and what servers say when they are ill.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})\Z")
_LENGTH = re.compile(r"bytes \*/(\d{1,19})\Z")
_SIGN_IN = "Look whether this network wants a sign-in: open any page in a browser, then try again."
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Address:
    """Where a file can be had. ``token`` is for the host of ``url`` alone.

    ``commit`` is what a hub must serve; ``page`` is where a person agrees to a licence.
    """

    url: str
    token: str | None = None
    commit: str | None = None
    page: str | None = None

    @property
    def where(self) -> str:
        """Host and path, for messages: a query may hold a signature."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


class FailedError(Exception):
    """An answer that passes: try again. ``retry_after`` is in seconds."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def accept(
    answer: Answer, address: Address, file: CatalogFile, start: int, end: int
) -> tuple[int, int]:
    """Return the offsets in the file of the answer's first byte and of the byte after its last.

    Asked for was ``start`` to ``end``; a server without ranges answers with the whole. Raises
    FailedError where trying again may help, OtherFileError where the server has another file, and
    LocalOpusError for what another try does not change.
    """
    _check_origin(answer, address, file)
    _refuse_status(answer, address, file)
    if answer.status == PARTIAL_CONTENT:
        match = _RANGE.match(answer.headers.get("content-range", ""))
        if match is None:
            raise FailedError("it answers with a part and does not say which")
        first, last, total = (int(part) for part in match.groups())
        if total != file.size:
            raise mismatch(file, address.where, f"{file.size} bytes", str(total))
        if first != start or not start <= last < end:
            raise FailedError(f"it answers with bytes {first}-{last}, not {start}-{end - 1}")
        return first, last + 1
    length = answer.number("content-length")
    if answer.headers.get("content-type", "").lower().startswith("text/html"):
        got = f"{'' if length is None else f'{length} bytes of '}a web page"
        raise mismatch(file, address.where, f"{file.size} bytes", got, _SIGN_IN)
    if length is not None and length != file.size:
        raise mismatch(file, address.where, f"{file.size} bytes", str(length))
    return 0, file.size


def _check_origin(answer: Answer, address: Address, file: CatalogFile) -> None:
    """Compare what a hub states of the file before a byte of it comes."""
    commit = answer.origin_headers.get("x-repo-commit", "")
    if address.commit and _COMMIT.match(commit) and commit != address.commit:
        raise mismatch(file, address.where, f"commit {address.commit}", commit)
    etag = answer.origin_headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
    if _SHA256.match(etag) and etag != file.sha256:
        raise mismatch(file, address.where, f"sha256 {file.sha256}", etag)


def _refuse_status(answer: Answer, address: Address, file: CatalogFile) -> None:
    status, where = answer.status, address.where
    code = printable(answer.headers.get("x-error-code", ""), 40)
    if status in {OK, PARTIAL_CONTENT}:
        return
    if status == NOT_SATISFIABLE:
        match = _LENGTH.match(answer.headers.get("content-range", ""))
        if match is not None and int(match[1]) != file.size:
            raise mismatch(file, where, f"{file.size} bytes", match[1])
    if status in PASSING or status == NOT_SATISFIABLE:
        raise FailedError(f"status {status}", answer.retry_after)
    said = f"status {status}{f', {code}' if code else ''}"
    if status in {401, 403}:
        origin, came_from = urlsplit(address.url).netloc, urlsplit(answer.url).netloc
        if came_from != origin:  # of no token, and of no licence: it was asked without either
            raise LocalOpusError(
                f"{where}: {printable(came_from)}, where it leads to, refuses ({said})",
                "Try again later; if it stays so, look whether a proxy changes addresses.",
            )
        page = f"on {address.page} " if address.page else ""
        if address.token:
            raise LocalOpusError(
                f"{where}: the token that is set is not allowed to read this ({said})",
                f"Accept the licence {page}with that token's account, or set HF_TOKEN to another.",
            )
        raise LocalOpusError(
            f"{where}: the hub wants a consent and a token, and HF_TOKEN is not set ({said})",
            f"Accept the licence {page}and set HF_TOKEN, then run this again.",
        )
    if status in {404, 410}:
        raise LocalOpusError(
            f"{where}: not there ({said})",
            "It was moved or removed; choose another model of `local-opus models list`.",
        )
    raise LocalOpusError(
        f"{where}: {said}", "Try again later; if it stays so, choose another model."
    )
