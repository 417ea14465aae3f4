"""An answer before it is sent: status, headers, what the body is made of, and how it is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from hub.contents import Content

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Span:
    """Bytes of a content, from ``start`` up to ``stop``."""

    content: Content
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


Piece = bytes | Span


def size_of(piece: Piece) -> int:
    """Return how many bytes a piece brings."""
    return len(piece) if isinstance(piece, bytes) else piece.size


@dataclass
class Answer:
    """What a client gets. ``headers`` is without Content-Length: it follows from the rest."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    #: The file whose bytes these are, by its path in the repository.
    file: str | None = None
    #: Where in the file the body begins.
    start: int = 0
    framing: str = "length"
    #: What is added to the length that the header names.
    length_by: int = 0
    #: After so many bytes of the body the connection ends, or pauses for seconds.
    cut_at: int | None = None
    stall_at: int | None = None
    stall_for: float = 0.0
    #: Bytes a second.
    rate: float | None = None
    endless: bool = False
    #: Seconds before the answer begins.
    delay: float = 0.0
    drops: bool = False
    resets: bool = False

    @property
    def size(self) -> int:
        """The length of the whole body in bytes."""
        return sum(size_of(piece) for piece in self.pieces)

    @property
    def named_length(self) -> int | None:
        """What Content-Length says; None where there is no such header."""
        if self.framing != "length":
            return None
        return 2**62 if self.endless else self.size + self.length_by

    @property
    def ends_connection(self) -> bool:
        """Whether the client can't know by the headers where the next answer begins."""
        return self.framing == "close" or bool(self.length_by) or self.endless

    def head(self, *, keeps: bool) -> bytes:
        """Return the status line and the headers as they are sent."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        for name, value in self.headers.items():
            plain = value.replace("\r", " ").replace("\n", " ")  # a file's name may hold any
            lines.append(f"{name}: {plain}")
        length = self.named_length
        if length is not None:
            lines.append(f"Content-Length: {length}")
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        lines.append(f"Connection: {'keep-alive' if keeps else 'close'}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def page(status: int, body: bytes, content_type: str, **headers: str) -> Answer:
    """Return an answer with a body of its own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"Content-Type": content_type, **named}, [body] if body else [])


def as_json(value: object, **headers: str) -> Answer:
    """Return an answer of the hub's interface."""
    return page(200, json.dumps(value).encode(), JSON, **headers)


def refusal(status: int, code: str | None, message: str, **headers: str) -> Answer:
    """Return the hub's refusal: its code and words are in the headers, the words in the body too."""
    if code is not None:
        headers["X_Error_Code"] = code
    headers["X_Error_Message"] = message
    return page(status, json.dumps({"error": message}).encode(), JSON, **headers)
