"""Does to an honest answer what a rule says."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable

from hub.answers import Answer, Span, page, size_of
from hub.files import expired, redirect
from hub.mischief import BODY_KINDS, Mischief
from hub.repositories import Repository
from hub.requests import Request
from hub.sending import split

PORTAL = (
    b"<!DOCTYPE html><html><head><title>Welcome to HotelNet</title></head>"
    b"<body><h1>Sign in to use the network</h1></body></html>\n"
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def fits(rule: Mischief, request: Request, answer: Answer) -> bool:
    """Whether the rule's kind can be done to this answer."""
    if rule.kind not in BODY_KINDS:
        return True
    if answer.file is None or answer.status not in {200, 206} or answer.framing != "length":
        return False
    if request.method != "GET":
        return rule.method == request.method and rule.kind in {"no_length", "wrong_length"}
    if rule.kind in {"ignore_range", "shift_range", "wrong_range"}:
        return answer.status == 206
    if rule.kind == "gzip":
        return "gzip" in request.headers.get("accept-encoding", "")
    if rule.kind == "flip":
        return answer.start <= rule.at < answer.start + answer.size
    return True


def done(
    rule: Mischief,
    request: Request,
    answer: Answer,
    *,
    here: str,
    repositories: Iterable[Repository],
) -> Answer:
    """Return what comes of the answer. ``here`` is the address of the door."""
    if rule.kind == "redirect":
        return redirect(302, rule.to + (request.target if rule.keep_path else ""), {})
    if rule.kind == "loop":
        return redirect(302, here + request.target, {})
    if rule.kind == "other_revision":
        return _other_revision(rule, answer, repositories)
    return _WORKS[rule.kind](rule, answer)


def _other_revision(rule: Mischief, answer: Answer, repositories: Iterable[Repository]) -> Answer:
    """Put the bytes of another revision in the place of those of the asked one."""
    (span,) = answer.pieces
    for repository in repositories:
        commit = repository.resolve(rule.revision)
        entry = repository.commits[commit].get(answer.file) if commit is not None else None
        if entry is not None:
            size = entry.content.size
            answer.pieces = [Span(entry.content, min(span.start, size), min(span.stop, size))]
            return answer
    raise AssertionError(f"no {answer.file} at {rule.revision}")


def _truncate(rule: Mischief, answer: Answer) -> Answer:
    answer.cut_at, answer.resets = rule.at, rule.reset
    return answer


def _no_length(rule: Mischief, answer: Answer) -> Answer:
    answer.framing = rule.framing
    return answer


def _wrong_length(rule: Mischief, answer: Answer) -> Answer:
    answer.length_by = rule.by
    return answer


def _flip(rule: Mischief, answer: Answer) -> Answer:
    offset = rule.at - answer.start
    pieces = []
    for piece in answer.pieces:
        size = size_of(piece)
        if 0 <= offset < size:
            before, rest = split(piece, offset) if offset else (b"", piece)
            one, after = split(rest, 1)
            byte = one if isinstance(one, bytes) else one.content.read(one.start, one.stop)
            pieces += [before, bytes([byte[0] ^ 0xFF]), *([after] if after is not None else [])]
        else:
            pieces.append(piece)
        offset -= size
    answer.pieces = pieces
    return answer


def _ignore_range(rule: Mischief, answer: Answer) -> Answer:
    return _moved(answer, 0, None)


def _shift_range(rule: Mischief, answer: Answer) -> Answer:
    return _moved(answer, answer.start + rule.by, answer.start + answer.size + rule.by)


def _moved(answer: Answer, start: int, stop: int | None) -> Answer:
    """Serve another part of the file, and say so; ``stop`` None means all of it, with status 200."""
    content = next(piece.content for piece in answer.pieces if isinstance(piece, Span))
    if stop is None:
        answer.status, start, stop = 200, 0, content.size
        answer.headers.pop("Content-Range", None)
    else:
        start, stop = max(0, min(start, content.size - 1)), max(1, min(stop, content.size))
        answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    answer.pieces, answer.start = [Span(content, start, stop)], start
    return answer


def _wrong_range(rule: Mischief, answer: Answer) -> Answer:
    match = _CONTENT_RANGE.fullmatch(answer.headers["Content-Range"])
    first, last, total = (int(number) for number in match.groups())
    answer.headers["Content-Range"] = (
        f"bytes {first + rule.by}-{last + rule.by}/{total + rule.total}"
    )
    return answer


def _slow(rule: Mischief, answer: Answer) -> Answer:
    answer.rate = rule.rate
    return answer


def _stall(rule: Mischief, answer: Answer) -> Answer:
    answer.stall_at, answer.stall_for = rule.at, rule.seconds
    return answer


def _endless(rule: Mischief, answer: Answer) -> Answer:
    answer.endless, answer.framing = True, rule.framing
    return answer


def _etag(rule: Mischief, answer: Answer) -> Answer:
    for name in ("ETag", "X-Linked-Etag"):
        if name in answer.headers:
            answer.headers[name] = f'"{rule.text or "0" * 64}"'
    return answer


def _commit(rule: Mischief, answer: Answer) -> Answer:
    if "X-Repo-Commit" in answer.headers:
        answer.headers["X-Repo-Commit"] = rule.text or "0" * 40
    return answer


def _no_header(rule: Mischief, answer: Answer) -> Answer:
    answer.headers.pop(rule.text or "", None)
    return answer


def _header(rule: Mischief, answer: Answer) -> Answer:
    name, _, value = (rule.text or "").partition(": ")
    answer.headers[name] = value
    return answer


def _status(rule: Mischief, answer: Answer) -> Answer:
    headers = {}
    if rule.retry_after is not None:
        headers["Retry-After"] = str(rule.retry_after)
    if rule.status == 416:
        headers["Content-Range"] = f"bytes */{answer.start + answer.size}"
    answer = page(rule.status, rule.text.encode() if rule.text else b"", "text/plain")
    answer.headers |= headers
    return answer


def _portal(rule: Mischief, answer: Answer) -> Answer:
    return page(200, PORTAL, rule.content_type)


def _page(rule: Mischief, answer: Answer) -> Answer:
    return page(rule.status, (rule.text or "").encode(), rule.content_type)


def _drop(rule: Mischief, answer: Answer) -> Answer:
    answer.drops, answer.resets = True, rule.reset
    return answer


def _hang(rule: Mischief, answer: Answer) -> Answer:
    answer.delay = rule.seconds
    return answer


def _expire(rule: Mischief, answer: Answer) -> Answer:
    return expired()


def _gzip(rule: Mischief, answer: Answer) -> Answer:
    _moved(answer, 0, None)
    (span,) = answer.pieces
    answer.pieces = [gzip.compress(span.content.read(0, span.stop), 1)]
    answer.headers["Content-Encoding"] = "gzip"
    answer.framing = "chunked"
    return answer


_WORKS: dict[str, Callable[[Mischief, Answer], Answer]] = {
    "truncate": _truncate,
    "no_length": _no_length,
    "wrong_length": _wrong_length,
    "flip": _flip,
    "ignore_range": _ignore_range,
    "shift_range": _shift_range,
    "wrong_range": _wrong_range,
    "slow": _slow,
    "stall": _stall,
    "endless": _endless,
    "etag": _etag,
    "commit": _commit,
    "no_header": _no_header,
    "header": _header,
    "status": _status,
    "portal": _portal,
    "page": _page,
    "drop": _drop,
    "hang": _hang,
    "expire": _expire,
    "gzip": _gzip,
}
