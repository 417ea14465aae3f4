"""Looks at one file: what kind it is, and what its structure check says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights import gguf, ir, safetensors
from local_opus.weights.classify import (
    HEAD,
    TINY,
    Kind,
    classify,
    is_weights,
    placeholder_reason,
    suffix_of,
    unsafe_reason,
)
from local_opus.weights.door import Reader
from local_opus.weights.structure import Refusal, printable

Summary = dict[str, int | str | bool | None]
#: Bytes of a JSON file that is parsed; tokenizer.json of a large vocabulary has 11 to 34 MB.
MAX_JSON = 48 * 1024 * 1024
#: A parsed JSON file of MAX_JSON can take 1 GB, so one is parsed after the other.
_PARSING = Lock()
_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """What was found in one file: a verdict where it fails, or the facts of its structure."""

    kind: Kind
    refusal: Refusal | None
    summary: Summary | None = None

    @property
    def text(self) -> str:
        """One line for a verdict's evidence."""
        if self.refusal is not None:
            return self.refusal.reason
        if self.summary is None:
            return str(self.kind)
        words = [str(self.summary.get("format", self.kind))]
        for key in ("architecture", "quantization", "tensors", "layers", "dtypes"):
            value = self.summary.get(key)
            if value is not None:
                words.append(str(value) if isinstance(value, str) else f"{value} {key}")
        return ", ".join(printable(word, 60) for word in words)


def inspect_file(host: Reader, folder: str, path: str, size: int) -> Finding:
    """Look at ``folder/path`` of ``size`` bytes. Raises OSError as reading does."""
    with host.files.open_read(f"{folder}/{path}", follow=False) as stream:
        head = stream.read(HEAD)
        kind = classify(path, head, size)
        pair = _pair(host, folder, path, kind)
        if pair is not None:
            return pair
        if (why := unsafe_reason(path, kind)) is not None:
            return Finding(kind, Refusal(Verdict.UNSAFE, why))
        if (why := placeholder_reason(path, kind, head, size)) is not None:
            return Finding(kind, Refusal(Verdict.PLACEHOLDER, why))
        suspect = kind is Kind.CONSTANT and (is_weights(path) or head[:1] == b"\0")
        if suspect and _is_constant(stream, head[:1]):
            return Finding(
                kind, Refusal(Verdict.PLACEHOLDER, f"{size} bytes, each of them 0x{head[:1].hex()}")
            )
        stream.seek(0)
        return _structure(stream, path, kind, size)


def _structure(stream: BinaryIO, path: str, kind: Kind, size: int) -> Finding:
    suffix = suffix_of(path)
    if kind is Kind.GGUF or suffix == ".gguf":
        return _finding(kind, gguf.check(stream, size))
    if kind is Kind.SAFETENSORS:
        return _finding(kind, safetensors.check(stream, size))
    if suffix == ".bin" and size < TINY:
        reason = f"{size} bytes, and no .xml beside it that would need so little"
        return Finding(kind, Refusal(Verdict.PLACEHOLDER, reason))
    if suffix == ".json":
        return Finding(kind, _json_refusal(stream, size))
    return Finding(kind, None)


def _finding(
    kind: Kind, answer: gguf.GgufInfo | ir.IrInfo | safetensors.SafetensorsInfo | Refusal
) -> Finding:
    if isinstance(answer, Refusal):
        return Finding(kind, answer)
    return Finding(kind, None, answer.summary())


def _pair(host: Reader, folder: str, path: str, kind: Kind) -> Finding | None:
    """Check an IR where this file is half of one: X.xml, or X.bin beside an X.xml.

    A .bin is raw bytes: only the .xml can tell whether it may begin like a pickle or a text.
    """
    suffix = suffix_of(path)
    stem = f"{folder}/{path[: len(path) - len(suffix)]}"
    if suffix == ".xml" and kind is Kind.XML:
        return _finding(kind, check_ir(host, stem))
    if suffix == ".bin" and kind not in {Kind.LFS_POINTER, Kind.HTML}:
        xml = host.files.stat(f"{stem}.xml")
        if xml is not None and xml.kind == "file":
            answer = check_ir(host, stem)
            if isinstance(answer, ir.IrInfo):
                return _finding(kind, answer)
            if answer.verdict is Verdict.TRUNCATED and kind in {Kind.BINARY, Kind.CONSTANT}:
                return Finding(kind, answer)
    return None


def check_ir(host: Reader, stem: str) -> ir.IrInfo | Refusal:
    """Check the IR of ``stem``.xml and ``stem``.bin. Raises OSError as reading does."""
    xml = host.files.stat(f"{stem}.xml")
    weights = host.files.stat(f"{stem}.bin")
    bin_size = weights.size if weights is not None and weights.kind == "file" else None
    with host.files.open_read(f"{stem}.xml", follow=False) as stream:
        return ir.check(stream, xml.size if xml is not None else 0, bin_size)


def _is_constant(stream: BinaryIO, byte: bytes) -> bool:
    """Whether the rest of the stream is ``byte`` repeated; stops at the first other one."""
    while data := stream.read(_CHUNK):
        if data.count(byte) != len(data):
            return False
    return True


def _json_refusal(stream: BinaryIO, size: int) -> Refusal | None:
    if size > MAX_JSON:
        return Refusal(Verdict.UNSAFE, f"{size} bytes of JSON; at most {MAX_JSON} are sane")
    try:
        with _PARSING:
            json.loads(stream.read(MAX_JSON))
    except (ValueError, RecursionError) as error:
        return Refusal(Verdict.CORRUPT, f"no JSON: {printable(str(error))}")
    return None
