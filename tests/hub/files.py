"""Answers to who asks for a file: by the hub itself, by a redirect to the CDN, and by the CDN."""

from __future__ import annotations

import re
from urllib.parse import quote

from hub.answers import Answer, Span, page, refusal
from hub.repositories import Entry, Repository
from hub.requests import Request

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def bounds(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Return the part that is asked for, (0, size) for all of it; None where there is none.

    As servers do: several ranges, a range that makes no sense, or one for another ETag, are
    answered with the whole file.
    """
    match = _RANGE.fullmatch(request.range or "")
    if match is None or not (match[1] or match[2]):
        return 0, size
    if request.headers.get("if-range", etag).strip('"') != etag:
        return 0, size
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        stop = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return 0, size
    return (start, stop) if start < size else None


def content(request: Request, entry: Entry, etag: str, **headers: str) -> Answer:
    """Return the bytes of a file, or the part of them that is asked for."""
    size = entry.content.size
    part = bounds(request, etag, size)
    asked = _RANGE.fullmatch(request.range or "") is not None
    headers = {"Accept-Ranges": "bytes", "ETag": f'"{etag}"', **headers}
    if part is None:
        headers["Content-Range"] = f"bytes */{size}"
        return Answer(416, headers)
    start, stop = part
    # Also where all of it is asked for as a range.
    status = 206 if asked and (part != (0, size) or request.range == "bytes=0-") else 200
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Type"] = "application/octet-stream" if entry.lfs else "text/plain"
    return Answer(status, headers, [Span(entry.content, start, stop)], file=entry.path, start=start)


def names(entry: Entry) -> dict[str, str]:
    """Return the headers by which the hub tells what a file is."""
    return {"X-Repo-Commit": entry.commit}


def linked(entry: Entry) -> dict[str, str]:
    """Return the headers of an answer that sends the client elsewhere for the bytes."""
    return {
        **names(entry),
        "X-Linked-Size": str(entry.content.size),
        "X-Linked-Etag": f'"{entry.etag}"',
        "Accept-Ranges": "bytes",
    }


def redirect(status: int, location: str, headers: dict[str, str]) -> Answer:
    """Return an answer that sends the client elsewhere."""
    body = f"Found. Redirecting to {location}".encode()
    return Answer(status, {"Content-Type": "text/plain", "Location": location, **headers}, [body])


def disposition(entry: Entry) -> str:
    """Return the name under which a browser would keep the file."""
    name = entry.path.rpartition("/")[2]
    plain = re.sub(r"[^ -!#-\[\]-~]", "?", name)
    return f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";"


def not_allowed(repository: Repository, token: str | None) -> Answer:
    """Return the refusal of a gated repository."""
    name = repository.name
    if token is None:
        return refusal(
            401,
            "GatedRepo",
            f"Access to model {name} is restricted. You must have access to it and be"
            " authenticated to access it. Please log in.",
        )
    return refusal(
        403,
        "GatedRepo",
        f"Access to model {name} is restricted and you are not in the authorized list."
        f" Visit https://huggingface.co/{name} to ask for access.",
    )


def expired() -> Answer:
    """Return the CDN's answer to an address whose signature is unknown, or whose time is over."""
    body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"
    return page(403, body, "text/xml", X_Cache="Error from cloudfront")
