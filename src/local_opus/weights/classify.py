"""What a file is, by its first bytes: the names of files are a stranger's words.

Pure: no file is opened here.
"""

from __future__ import annotations

import codecs
import json
import re
from enum import StrEnum

from local_opus.weights.pickles import begins_as_pickle, is_pickle

#: First bytes that ``classify`` wants: a page's <html> comes within its first kilobyte, the name
#: of a tar archive's format at byte 257.
HEAD = 4096
#: Suffixes of files that hold weights; text in one of them is a placeholder.
WEIGHTS_SUFFIXES = frozenset(
    {".gguf", ".bin", ".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".onnx_data", ".npz",
     ".h5", ".keras", ".msgpack", ".tflite", ".pdiparams"}
)  # fmt: skip
#: Suffixes that loaders unpickle or run, whatever the bytes are.
CODE_SUFFIXES = frozenset(
    {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".pkl", ".pickle", ".pt", ".pth", ".ckpt"}
)
#: Suffixes by which old loaders unpickle: text in them may be a pickle of protocol 0.
_UNPICKLED = frozenset({".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".p", ""})
_NEVER_EMPTY = frozenset({".json", ".xml", ".model", ".jinja"})
_PAGES = frozenset({".html", ".htm", ".xhtml", ".md", ".svg"})
#: Bytes below which a lone .bin can't be a model.
TINY = 1024

_LFS = ("version https://git-lfs", "version https://hawser")
#: A page, or an error as the stores behind a hub send it (S3, GCS and Azure answer in XML).
_PAGE = re.compile(
    r"\s*(?:(?><!--.*?-->)\s*)*(?:<\?xml[^>]*>\s*(?:(?><!--.*?-->)\s*)*"
    r"<(?:!doctype\s+html|html|error|listbucketresult)\b"
    r"|<(?:!doctype\s+html|html|head|body)\b)",
    re.IGNORECASE | re.DOTALL,
)
#: What a file says of itself that was made to look like a model.
_SYNTHETIC = re.compile(
    r"\s*(?:#|//|--)?\s*(?:synthetic|placeholder|dummy|fake|mock)\s+(?:model\s+)?weights\b",
    re.IGNORECASE,
)
_PROSE = frozenset({".md", ".txt", ".rst", ".html", ".htm"})
#: Keys of the objects that servers send instead of a file; no config has only these.
_ERROR_KEYS = frozenset(
    {"error", "errors", "error_code", "errorcode", "message", "detail", "details", "status",
     "statuscode", "status_code", "code", "reason", "success", "request_id", "requestid"}
)  # fmt: skip
_SPACES = str.maketrans("", "", "\t\n\r\f\ufeff")
_BOMS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
#: gzip, xz, bzip2, 7z, zstandard, LZ4, RAR.
_COMPRESSED = re.compile(
    rb"\x1f\x8b\x08|\xfd7zXZ\0|BZh[1-9]1AY&SY|7z\xbc\xaf\x27\x1c|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|Rar!\x1a\x07"
)
_MACH_O = (b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf")
_FAT_MACH_O = b"\xca\xfe\xba\xbe"
_MAX_FAT = 40  # a class file of Java begins alike and has its version there, 45 or more
_TAR_NAME = 257
_PE_POINTER = slice(0x3C, 0x40)


class Kind(StrEnum):
    """What the first bytes are."""

    EMPTY = "empty"
    LFS_POINTER = "Git LFS pointer"
    HTML = "page or error of a server"
    ZIP = "zip archive"
    TAR = "tar archive"
    COMPRESSED = "compressed archive"
    PICKLE = "pickle"
    EXECUTABLE = "executable"
    CONSTANT = "one byte repeated"
    GGUF = "GGUF"
    SAFETENSORS = "safetensors"
    NUMPY = "NumPy array"
    HDF5 = "HDF5"
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
    text = text_of(head, whole=len(head) >= size)
    for kind, matches in (
        (Kind.LFS_POINTER, _start(head).startswith(_LFS)),
        (Kind.HTML, _PAGE.match(_start(head) if text is None else text) is not None),
        (Kind.ZIP, head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"))),
        (Kind.EXECUTABLE, _is_program(head)),
        (Kind.PICKLE, begins_as_pickle(head)),
        (Kind.COMPRESSED, _COMPRESSED.match(head) is not None),
        (Kind.TAR, head[_TAR_NAME:].startswith(b"ustar")),
        (Kind.GGUF, head.startswith(b"GGUF")),
        (Kind.NUMPY, head.startswith(b"\x93NUMPY")),
        (Kind.HDF5, head.startswith(b"\x89HDF\r\n\x1a\n")),
        (Kind.CONSTANT, len(head) > 1 and head.count(head[:1]) == len(head)),
    ):
        if matches:
            return kind
    if suffix_of(path) in _UNPICKLED and is_pickle(head, size):
        return Kind.PICKLE
    if text is None:
        return Kind.SAFETENSORS if suffix_of(path) == ".safetensors" else Kind.BINARY
    start = text.lstrip()[:5]
    if start.startswith(("<?xml", "<net")):
        return Kind.XML
    if suffix_of(path) == ".json" or start[:1] in {"{", "["}:
        return Kind.JSON
    return Kind.TEXT


def text_of(head: bytes, *, whole: bool) -> str | None:
    """Return these bytes as text without its byte order mark; None where they are no text.

    Text is UTF-8, or UTF-16 with a mark, without control characters; ``whole``: no character is
    cut at the end.
    """
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8-sig")
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(head, whole)
    except UnicodeDecodeError:
        return None
    return text if text.translate(_SPACES).isprintable() else None


def _start(head: bytes) -> str:
    """Return the first line for a look at its words, whatever comes after it."""
    return head[:200].decode("utf-8-sig", errors="replace").lstrip()


def _is_program(head: bytes) -> bool:
    if head.startswith((b"\x7fELF", *_MACH_O)):
        return True
    if head.startswith(_FAT_MACH_O):
        return int.from_bytes(head[4:8], "big") < _MAX_FAT
    if head.startswith(b"MZ"):
        at = int.from_bytes(head[_PE_POINTER], "little")
        return head[at : at + 4] == b"PE\0\0"
    line = head.partition(b"\n")[0]
    return head.startswith(b"#!") and b"/" in line and line.isascii()


def placeholder_reason(path: str, kind: Kind, head: bytes, size: int) -> str | None:
    """Return why this file only stands in for another, or None.

    What takes reading more than the head is not judged here: see ``samples``.
    """
    suffix = suffix_of(path)
    if kind is Kind.LFS_POINTER:
        return "a Git LFS pointer, not the file it names"
    if kind is Kind.HTML:
        return (
            None if suffix in _PAGES else "a page or an error, as a server sends instead of a file"
        )
    if kind is Kind.JSON and suffix == ".json" and _is_error(head, size):
        return f"an error of a server instead of a file: {_first_line(head)}"
    if kind is Kind.TEXT and suffix not in _PROSE and _SYNTHETIC.match(_start(head)):
        return f"{size} bytes of text: {_first_line(head)}"
    if kind is Kind.EMPTY and (is_weights(path) or suffix in _NEVER_EMPTY):
        return "empty"
    if is_weights(path) and kind in {Kind.TEXT, Kind.JSON, Kind.XML}:
        return f"{size} bytes of text: {_first_line(head)}"
    return None


def _first_line(head: bytes) -> str:
    lines = (text_of(head, whole=False) or "").strip().splitlines()
    return repr(lines[0][:60] if lines else "")


def _is_error(head: bytes, size: int) -> bool:
    """Whether this JSON is an object with nothing but a server's error in it."""
    if size > len(head):
        return False
    try:
        value = json.loads(head)
    except (ValueError, RecursionError):
        return False
    keys = {key.lower() for key in value} if isinstance(value, dict) else set()
    return bool(keys & {"error", "errors", "message", "detail"}) and keys <= _ERROR_KEYS


def unsafe_reason(path: str, kind: Kind) -> str | None:
    """Return why this file may run code where a loader opens it, or None.

    Archives are judged by what is in them: see ``archives``.
    """
    suffix = suffix_of(path)
    if kind is Kind.PICKLE:
        return "a pickle: loading it runs code"
    if kind is Kind.EXECUTABLE:
        return "a program, a native library or a script"
    if suffix in CODE_SUFFIXES:
        return f"{suffix} files run code when a loader opens them"
    return None
