"""Looks at one file: what kind it is, and what its structure check says.

Headers and samples are read, never a whole file of weights: a folder of 50 GB takes a moment.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights import filler, ir, samples
from local_opus.weights.classify import (
    HEAD,
    Kind,
    classify,
    is_weights,
    placeholder_reason,
    suffix_of,
    unsafe_reason,
)
from local_opus.weights.door import Reader
from local_opus.weights.finding import Finding, Info, finding, placeholder
from local_opus.weights.owners import ONLY_HASHES, Graphs, Owner
from local_opus.weights.pickles import is_pickle
from local_opus.weights.structure import Refusal
from local_opus.weights.structures import check_structure, judged

#: Of a file that is mostly holes: a whole copy may have some, where its tensors hold zeros.
_MOSTLY = 2
_UNFINISHED = 8  # an eighth of it at the end
_SOME = 1024 * 1024
_TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.XML})
_PARSED = frozenset({".json", ".xml", ".jinja", ".txt", ".model", ".md"})


def inspect_file(host: Reader, folder: str, path: str, size: int) -> Finding:
    """Look at ``folder/path`` of ``size`` bytes, for itself. Raises OSError as reading does.

    Whether the files are there that an ONNX model keeps its data in is not looked at: they may be
    on their way.
    """
    return Inspector(host, folder).look(path, size)


def check_ir(host: Reader, stem: str) -> ir.IrInfo | Refusal:
    """Check the IR of ``stem``.xml and ``stem``.bin. Raises OSError as reading does."""
    xml = host.files.stat(f"{stem}.xml")
    weights = host.files.stat(f"{stem}.bin")
    bin_size = weights.size if weights is not None and weights.kind == "file" else None
    with host.files.open_read(f"{stem}.xml", follow=False) as stream:
        return ir.check(stream, xml.size if xml is not None else 0, bin_size)


class Inspector:
    """Looks at the files of one folder; what two of them share is read once.

    ``names`` are all files of the folder: with them a model is whole only with its data files.
    """

    def __init__(self, host: Reader, folder: str, names: Collection[str] = ()) -> None:
        self._host = host
        self._folder = folder
        self._graphs = Graphs(host, folder, names)
        self._infos: dict[str, Info | None] = {}

    def look(self, path: str, size: int, *, named: str | None = None) -> Finding:
        """Look at the file ``path`` of ``size`` bytes. Raises OSError as reading does.

        ``named``: the name that it goes by, where that is another, as a link's is.
        """
        found = self._look(path, size, named or path)
        self._infos[named or path] = found.info
        return found

    def info(self, path: str) -> Info | None:
        """Return the facts of a sound file that ``look`` saw, or that it sees now.

        None for a file that is not sound, or that can't be read.
        """
        if path not in self._infos:
            try:
                size = self._graphs.size(path)
                return self.look(path, size).info if size is not None else None
            except OSError:  # said of the file itself
                return None
        return self._infos[path]

    def _look(self, path: str, size: int, name: str) -> Finding:
        with self._host.files.open_read(f"{self._folder}/{path}", follow=False) as stream:
            head = stream.read(HEAD)
            kind = classify(name, head, size)
            owner = self._graphs.owner(path, kind, size)
            if owner is not None and not is_pickle(head, size):
                return self._constants(stream, path, kind, size, owner)
            why = unsafe_reason(name, kind)
            if why is not None:
                return Finding(kind, Refusal(Verdict.UNSAFE, why))
            why = placeholder_reason(name, kind, head, size)
            if why is not None and not (kind in _TEXTS and size > HEAD):
                return Finding(kind, Refusal(Verdict.PLACEHOLDER, why))
            weights = is_weights(name) and kind is not Kind.HDF5  # it may be given room for later
            if weights or size >= samples.LEAST or suffix_of(name) in _PARSED:
                counts = why is not None
                empty = self._unfilled(
                    stream, path, kind, size, text_counts=counts, weights=weights
                )
                if empty is not None:
                    return empty
            if suffix_of(path) == ".xml":
                return self._xml(path, kind)
            if suffix_of(path) == ".onnx":
                model = self._graphs.model(path)
                runs = () if isinstance(model, Refusal) else model.runs
                return judged(stream, size, kind, model, runs)
            stream.seek(0)
            return check_structure(stream, name, kind, size)

    def _xml(self, path: str, kind: Kind) -> Finding:
        """Check the graph of an IR; without a .bin beside it an .xml may be anything."""
        bin_size = self._graphs.size(f"{path[: -len('.xml')]}.bin")
        info = self._graphs.graph(path)
        if isinstance(info, Refusal):
            foreign = kind is not Kind.XML or info.reason.startswith(ir.FOREIGN_ROOT)
            return Finding(kind, None if foreign and bin_size is None else info)
        return finding(kind, ir.misfit(info, bin_size) or info, ONLY_HASHES)

    def _constants(
        self, stream: BinaryIO, path: str, kind: Kind, size: int, owner: Owner
    ) -> Finding:
        """Check the bytes of a file that a graph needs; small constants may all be zero."""
        empty = None
        if size >= samples.LEAST or owner.refusal is not None:
            counts = not owner.may_be_text
            empty = self._unfilled(stream, path, kind, size, text_counts=counts, weights=True)
        elif kind in _TEXTS and not owner.may_be_text:
            empty = placeholder(kind, f"{size} bytes of text in place of constants")
        if empty is not None:
            return empty
        refusal = owner.refusal or filler.check(stream, size, owner.runs)
        return Finding(kind, refusal, owner.summary, owner.note)

    def _unfilled(
        self,
        stream: BinaryIO,
        path: str,
        kind: Kind,
        size: int,
        *,
        text_counts: bool,
        weights: bool,
    ) -> Finding | None:
        """Refuse a file that was never filled: holes, zeros, one byte again and again, text."""
        if size == 0:
            return None
        stat = self._host.files.stat(f"{self._folder}/{path}")
        if weights and stat is not None and stat.allocated < size:
            holes, at_end = self._host.files.holes(stream, size)
            mostly = size >= samples.LEAST and holes * _MOSTLY > size
            if mostly or at_end >= max(_SOME, size // _UNFINISHED):
                reason = f"sparse: {holes} of {size} bytes were never written, {at_end} at its end"
                return placeholder(kind, reason)
        why = samples.stand_in(stream, size, text_counts=text_counts, zeros_only=not weights)
        return placeholder(kind, why)
