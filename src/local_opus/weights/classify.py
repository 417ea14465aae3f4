"""What a file is, by its first bytes: the names of files are a stranger's words.

Pure: no file is opened here.
"""

from __future__ import annotations

import re
from enum import StrEnum

#: First bytes that ``classify`` wants; a Git LFS pointer is at most 145 bytes, a page's <html>
#: comes within its first kilobyte.
HEAD = 4096
#: Suffixes of files that hold weights; text in one of them is a placeholder.
WEIGHTS_SUFFIXES = frozenset(
    {".gguf", ".bin", ".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".npz", ".h5", ".msgpack"}
)
#: Suffixes that loaders unpickle or run, whatever the bytes are.
CODE_SUFFIXES = frozenset(
    {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".pkl", ".pickle", ".pt", ".pth", ".ckpt"}
)
#: Bytes below which a lone .bin can't be a model.
TINY = 1024
#: Bytes that a text which stands in for weights has at most; real text files of this size are
#: vocabularies, and those do not end in .bin.
_MAX_PLACEHOLDER_TEXT = 64 * 1024

_LFS = (b"version https://git-lfs", b"version https://hawser")
_HTML = re.compile(
    rb"\s*(?:<!doctype\s+html|<html|<head|<body|<\?xml[^>]*>\s*<error)", re.IGNORECASE
)
#: A binary pickle begins with PROTO 2..5 and then one of the opcodes a pickler can emit first.
_PICKLE = re.compile(rb"\x80[\x02-\x05][\x95}\]()cXK\x8a\x8c\x89\x88NMJG\x8fBCT]", re.DOTALL)


class Kind(StrEnum):
    """What the first bytes are."""

    EMPTY = "empty"
    LFS_POINTER = "Git LFS pointer"
    HTML = "HTML page"
    ZIP = "zip archive"
    PICKLE = "pickle"
    EXECUTABLE = "executable"
    CONSTANT = "one byte repeated"
    GGUF = "GGUF"
    SAFETENSORS = "safetensors"
    XML = "XML"
    JSON = "JSON"
    TEXT = "text"
    BINARY = "binary"


def suffix_of(path: str) -> str:
    """Return the lower-case suffix of a path's last part, with its dot; "" where it has none."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def is_weights(path: str) -> bool:
    """Whether the name claims that the file holds weights."""
    return suffix_of(path) in WEIGHTS_SUFFIXES


def classify(path: str, head: bytes, size: int) -> Kind:
    """Return what a file of ``size`` bytes is whose first bytes are ``head`` (HEAD of them)."""
    if size == 0:
        return Kind.EMPTY
    for kind, matches in (
        (Kind.LFS_POINTER, size < TINY and head.startswith(_LFS)),
        (Kind.HTML, _HTML.match(head) is not None),
        (Kind.ZIP, head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"))),
        (Kind.EXECUTABLE, head.startswith(b"\x7fELF")),
        (Kind.PICKLE, _PICKLE.match(head) is not None),
        (Kind.GGUF, head.startswith(b"GGUF")),
        (Kind.SAFETENSORS, suffix_of(path) == ".safetensors"),
        (Kind.CONSTANT, len(head) > 1 and head.count(head[:1]) == len(head)),
    ):
        if matches:
            return kind
    if not _is_text(head, whole=len(head) >= size):
        return Kind.BINARY
    start = head.lstrip()[:5]
    if start.startswith((b"<?xml", b"<net")):
        return Kind.XML
    if suffix_of(path) == ".json" or start[:1] in {b"{", b"["}:
        return Kind.JSON
    return Kind.TEXT


def _is_text(head: bytes, *, whole: bool) -> bool:
    """Whether these bytes are UTF-8 without control characters; the last one may be cut."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return all(char.isprintable() or char in "\t\n\r\f\ufeff" for char in text)


def placeholder_reason(path: str, kind: Kind, head: bytes, size: int) -> str | None:
    """Return why this file only stands in for another, or None.

    A constant head is not judged here: whether the rest is constant too takes reading it.
    """
    if kind is Kind.LFS_POINTER:
        return "a Git LFS pointer, not the file it names"
    if kind is Kind.HTML:
        return "an HTML page, as a server sends instead of a file" if _not_html(path) else None
    if not is_weights(path):
        return None
    if kind is Kind.EMPTY:
        return "empty"
    if kind in {Kind.TEXT, Kind.JSON, Kind.XML} and size <= _MAX_PLACEHOLDER_TEXT:
        line = head.decode("utf-8", errors="replace").strip().splitlines()
        return f"{size} bytes of text: {line[0][:60] if line else ''!r}"
    return None


def _not_html(path: str) -> bool:
    return suffix_of(path) not in {".html", ".htm", ".xhtml", ".md"}


def unsafe_reason(path: str, kind: Kind) -> str | None:
    """Return why this file may run code where a loader opens it, or None."""
    suffix = suffix_of(path)
    if kind is Kind.ZIP:
        return "a zip archive: PyTorch checkpoints are pickles in a zip, and loading one runs code"
    if kind is Kind.PICKLE:
        return "a pickle: loading it runs code"
    if kind is Kind.EXECUTABLE:
        return "a native program or library"
    if suffix in CODE_SUFFIXES:
        return f"{suffix} files run code when a loader opens them"
    return None
