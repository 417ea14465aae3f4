"""Looks at one file: what kind it is, and what its structure check says.

Headers and samples are read, never a whole file of weights: a folder of 50 GB takes a moment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from threading import Lock
from typing import BinaryIO, Protocol

from local_opus.values import Verdict
from local_opus.weights import archives, arrays, filler, gguf, ir, safetensors, samples
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
from local_opus.weights.filler import Run
from local_opus.weights.pickles import is_pickle
from local_opus.weights.structure import Refusal, printable

Summary = dict[str, int | str | bool | None]
#: Bytes of a JSON file that is parsed; tokenizer.json of a large vocabulary has 11 to 34 MB.
MAX_JSON = 48 * 1024 * 1024
#: A parsed JSON file of MAX_JSON can take 1 GB, so one is parsed after the other.
_PARSING = Lock()
#: Of a file that is mostly holes: a whole copy may have some, where its tensors hold zeros.
_MOSTLY = 2
_UNFINISHED = 8  # an eighth of it at the end
_SOME = 1024 * 1024
_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.XML})
#: Kinds that no constants begin as by chance.
_SELF_EVIDENT = frozenset({Kind.LFS_POINTER, Kind.HTML, Kind.ZIP, Kind.EXECUTABLE, Kind.TAR})
#: Element types whose constants may be text: a tokenizer's vocabulary.
_CHARACTERS = frozenset({"u8", "i8", "string"})
_RAW = frozenset({Kind.BINARY, Kind.CONSTANT})
_PARSED = frozenset({".json", ".xml", ".jinja", ".txt", ".model", ".md"})


class Info(Protocol):
    """What a structure check answers of a sound file."""

    def summary(self) -> Summary:
        """Return the facts that a manifest records."""


@dataclass(frozen=True)
class Finding:
    """What was found in one file: a verdict where it fails, or the facts of its structure."""

    kind: Kind
    refusal: Refusal | None
    summary: Summary | None = None
    note: str = ""

    @property
    def text(self) -> str:
        """One line for a verdict's evidence."""
        if self.refusal is not None:
            return self.refusal.reason
        words = [str(self.kind)]
        if self.summary is not None:
            words = [str(self.summary.get("format", self.kind))]
            for key in _SHOWN:
                value = self.summary.get(key)
                if value is not None:
                    words.append(str(value) if isinstance(value, str) else f"{value} {key}")
        return ", ".join(printable(word, 60) for word in words) + self.note


_SHOWN = ("architecture", "quantization", "tensors", "layers", "dtypes", "members")


def inspect_file(host: Reader, folder: str, path: str, size: int) -> Finding:
    """Look at ``folder/path`` of ``size`` bytes. Raises OSError as reading does."""
    return Inspector(host, folder).look(path, size)


def check_ir(host: Reader, stem: str) -> ir.IrInfo | Refusal:
    """Check the IR of ``stem``.xml and ``stem``.bin. Raises OSError as reading does."""
    xml = host.files.stat(f"{stem}.xml")
    weights = host.files.stat(f"{stem}.bin")
    bin_size = weights.size if weights is not None and weights.kind == "file" else None
    with host.files.open_read(f"{stem}.xml", follow=False) as stream:
        return ir.check(stream, xml.size if xml is not None else 0, bin_size)


class Inspector:
    """Looks at the files of one folder; what two of them share is read once."""

    def __init__(self, host: Reader, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._graphs: dict[str, ir.IrInfo | Refusal] = {}
        self._lock = Lock()

    def look(self, path: str, size: int) -> Finding:
        """Look at the file ``path`` of ``size`` bytes. Raises OSError as reading does."""
        with self._host.files.open_read(f"{self._folder}/{path}", follow=False) as stream:
            head = stream.read(HEAD)
            kind = classify(path, head, size)
            owner = self._owner(path, kind, size)
            if owner is not None and not is_pickle(head, size):
                return self._constants(stream, path, kind, size, owner)
            why = unsafe_reason(path, kind)
            if why is not None:
                return Finding(kind, Refusal(Verdict.UNSAFE, why))
            why = placeholder_reason(path, kind, head, size)
            if why is not None and not (kind in _TEXTS and size > HEAD):
                return Finding(kind, Refusal(Verdict.PLACEHOLDER, why))
            refusal = self._empty(stream, path, size, text_counts=why is not None)
            if refusal is not None:
                return Finding(kind, refusal)
            if suffix_of(path) == ".xml":
                return self._xml(path, kind)
            stream.seek(0)
            return _structure(stream, path, kind, size)

    def graph(self, stem: str) -> ir.IrInfo | Refusal:
        """Check the graph ``stem``.xml, or return what was found before."""
        with self._lock:
            if stem not in self._graphs:
                path = f"{self._folder}/{stem}.xml"
                stat = self._host.files.stat(path)
                with self._host.files.open_read(path, follow=False) as stream:
                    found = ir.check_graph(stream, stat.size if stat is not None else 0)
                self._graphs[stem] = found
            return self._graphs[stem]

    def _size(self, path: str) -> int | None:
        stat = self._host.files.stat(f"{self._folder}/{path}")
        return stat.size if stat is not None and stat.kind == "file" else None

    def _xml(self, path: str, kind: Kind) -> Finding:
        """Check the graph of an IR; without a .bin beside it an .xml may be anything."""
        stem = path[: -len(".xml")]
        bin_size = self._size(f"{stem}.bin")
        info = self.graph(stem)
        if isinstance(info, Refusal):
            foreign = kind is not Kind.XML or info.reason.startswith(ir.FOREIGN_ROOT)
            return Finding(kind, None if foreign and bin_size is None else info)
        return Finding(kind, ir.misfit(info, bin_size), info.summary(), _ONLY_HASHES)

    def _owner(self, path: str, kind: Kind, size: int) -> ir.IrInfo | Refusal | None:
        """Return the graph whose constants ``path`` holds, or why it can't hold them.

        A .bin is raw bytes: only the .xml can tell whether it may begin like a pickle or a text.
        None where there is no sound .xml, or the bytes themselves say what they are.
        """
        if suffix_of(path) != ".bin" or kind in _SELF_EVIDENT:
            return None
        stem = path[: -len(".bin")]
        if self._size(f"{stem}.xml") is None:
            return None
        info = self.graph(stem)
        if isinstance(info, Refusal):
            return None
        wrong = ir.misfit(info, size)
        if wrong is not None:
            return wrong if kind in _RAW else None
        return info

    def _constants(
        self, stream: BinaryIO, path: str, kind: Kind, size: int, owner: ir.IrInfo | Refusal
    ) -> Finding:
        if isinstance(owner, Refusal):
            return Finding(kind, self._empty(stream, path, size, text_counts=False) or owner)
        refusal = None
        if size >= samples.LEAST:  # small constants may all be zero
            refusal = self._empty(stream, path, size, text_counts=True)
        elif kind in _TEXTS and not _CHARACTERS.issuperset(owner.element_types):
            refusal = Refusal(Verdict.PLACEHOLDER, f"{size} bytes of text in place of constants")
        refusal = refusal or filler.check(stream, size, owner.runs)
        return Finding(kind, refusal, owner.summary(), _ONLY_HASHES)

    def _empty(
        self, stream: BinaryIO, path: str, size: int, *, text_counts: bool
    ) -> Refusal | None:
        """Refuse a file that was never filled: holes, zeros, one byte again and again, text."""
        if size == 0:
            return None
        stat = self._host.files.stat(f"{self._folder}/{path}")
        if stat is not None and stat.allocated < size:
            holes, at_end = self._host.files.holes(stream, size)
            unfinished = at_end >= max(_SOME, size // _UNFINISHED)
            if (holes * _MOSTLY > size >= samples.LEAST) or unfinished:
                reason = f"sparse: {holes} of {size} bytes were never written, {at_end} at its end"
                return Refusal(Verdict.PLACEHOLDER, reason)
        if not is_weights(path) and size < samples.LEAST and suffix_of(path) not in _PARSED:
            return None
        weights = is_weights(path)
        why = samples.stand_in(stream, size, text_counts=text_counts, zeros_only=not weights)
        return Refusal(Verdict.PLACEHOLDER, why) if why is not None else None


#: Said of a sound IR: the .xml holds nothing that would tell one .bin of its size from another.
_ONLY_HASHES = "; only hashes tell whether .xml and .bin are of one revision"


def _structure(stream: BinaryIO, path: str, kind: Kind, size: int) -> Finding:
    suffix = suffix_of(path)
    if kind in _CONTAINERS:
        return _finding(kind, _container(stream, path, kind, size))
    if kind is Kind.GGUF or suffix == ".gguf":
        info = gguf.check(stream, size)
        runs = [] if isinstance(info, Refusal) else info.runs()
        return _judged(stream, size, kind, info, runs)
    if kind is Kind.SAFETENSORS:
        tensors = safetensors.check(stream, size)
        runs = [] if isinstance(tensors, Refusal) else list(tensors.runs)
        return _judged(stream, size, kind, tensors, runs)
    if suffix == ".bin" and size < TINY:
        reason = f"{size} bytes, and no .xml beside it that would need so little"
        return Finding(kind, Refusal(Verdict.PLACEHOLDER, reason))
    if suffix == ".json":
        return Finding(kind, _json_refusal(stream, size))
    return Finding(kind, None)


def _judged(
    stream: BinaryIO, size: int, kind: Kind, answer: Info | Refusal, runs: list[Run]
) -> Finding:
    """Return what the structure says, and where it is sound what the numbers in it say."""
    if isinstance(answer, Refusal):
        return Finding(kind, answer)
    return Finding(kind, filler.check(stream, size, runs), answer.summary())


def _finding(kind: Kind, answer: Info | Refusal) -> Finding:
    if isinstance(answer, Refusal):
        return Finding(kind, answer)
    return Finding(kind, None, answer.summary())


_CONTAINERS = frozenset({Kind.ZIP, Kind.TAR, Kind.COMPRESSED, Kind.NUMPY, Kind.HDF5})


def _container(stream: BinaryIO, path: str, kind: Kind, size: int) -> Info | Refusal:
    weights = is_weights(path) and suffix_of(path) not in {".npz", ".keras"}
    if kind is Kind.ZIP:
        return archives.check_zip(stream, size, weights=weights)
    if kind is Kind.TAR:
        return archives.check_tar(stream, size, weights=weights)
    if kind is Kind.COMPRESSED:
        return archives.check_compressed(stream, size, weights=weights)
    return (arrays.check_npy if kind is Kind.NUMPY else arrays.check_hdf5)(stream, size)


def _json_refusal(stream: BinaryIO, size: int) -> Refusal | None:
    if size > MAX_JSON:
        return Refusal(Verdict.UNSAFE, f"{size} bytes of JSON; at most {MAX_JSON} are sane")
    try:
        with _PARSING:
            json.loads(stream.read(MAX_JSON))
    except (ValueError, RecursionError) as error:
        return Refusal(Verdict.CORRUPT, f"no JSON: {printable(str(error))}")
    return None
