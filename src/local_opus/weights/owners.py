"""Which files hold the constants of which graphs: X.bin those of X.xml, any file those of an ONNX.

Such a file is raw bytes: only its graph tells what it must hold, and that it may begin like a
pickle or a text. Each graph is read once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from posixpath import dirname, join, normpath
from threading import RLock

from local_opus.values import Verdict
from local_opus.weights import ir, onnx
from local_opus.weights.classify import Kind, suffix_of
from local_opus.weights.door import Reader
from local_opus.weights.filler import Run
from local_opus.weights.finding import Summary
from local_opus.weights.structure import Refusal, printable

#: Said of a sound IR: the .xml holds nothing that would tell one .bin of its size from another.
ONLY_HASHES = "; only hashes tell whether .xml and .bin are of one revision"
#: Kinds that no constants begin as by chance.
_SELF_EVIDENT = frozenset(
    {Kind.LFS_POINTER, Kind.HTML, Kind.ZIP, Kind.TAR, Kind.EXECUTABLE, Kind.GGUF, Kind.HDF5,
     Kind.NUMPY, Kind.EMPTY}
)  # fmt: skip
_RAW = frozenset({Kind.BINARY, Kind.CONSTANT})
#: Element types whose constants may be text: a tokenizer's vocabulary.
_CHARACTERS = frozenset({"u8", "i8", "string"})


@dataclass(frozen=True)
class Owner:
    """The graph whose constants a file holds, or why it can't hold them."""

    runs: tuple[Run, ...]
    summary: Summary
    note: str = ""
    may_be_text: bool = False
    refusal: Refusal | None = None


class Graphs:
    """The graphs of one folder. ``names``: the folder's files, where their data are looked for."""

    def __init__(self, host: Reader, folder: str, names: Collection[str]) -> None:
        self._host = host
        self._folder = folder
        self._names = names
        self._graphs: dict[str, ir.IrInfo | Refusal] = {}
        self._models: dict[str, onnx.OnnxInfo | Refusal] = {}
        self._outside: dict[str, list[tuple[str, onnx.OutsideFile]]] | None = None
        self._lock = RLock()

    def size(self, path: str) -> int | None:
        """Return the bytes of a file of the folder; None where there is none."""
        stat = self._host.files.stat(f"{self._folder}/{path}")
        return stat.size if stat is not None and stat.kind == "file" else None

    def graph(self, path: str) -> ir.IrInfo | Refusal:
        """Check the graph in the .xml ``path``, or return what was found before."""
        with self._lock:
            if path not in self._graphs:
                size = self.size(path) or 0
                with self._host.files.open_read(f"{self._folder}/{path}", follow=False) as stream:
                    self._graphs[path] = ir.check_graph(stream, size)
            return self._graphs[path]

    def model(self, path: str) -> onnx.OnnxInfo | Refusal:
        """Check the ONNX model ``path``, or return what was found before.

        The files that its data lie in are looked for where the folder's names are known.
        """
        with self._lock:
            if path not in self._models:
                size = self.size(path) or 0
                with self._host.files.open_read(f"{self._folder}/{path}", follow=False) as stream:
                    self._models[path] = onnx.check(stream, size)
            answer = self._models[path]
        if isinstance(answer, onnx.OnnxInfo) and self._names:
            return self._absent(path, answer) or answer
        return answer

    def owner(self, path: str, kind: Kind, size: int) -> Owner | None:
        """Return the graph that needs the file ``path`` of ``size`` bytes.

        None where there is no sound one, or the bytes themselves say what they are.
        """
        if kind in _SELF_EVIDENT:
            return None
        if suffix_of(path) == ".bin":
            xml = f"{path[: -len('.bin')]}.xml"
            info = self.graph(xml) if self.size(xml) is not None else None
            if isinstance(info, ir.IrInfo):
                wrong = ir.misfit(info, size)
                if wrong is not None and kind not in _RAW:
                    return None
                is_text = _CHARACTERS.issuperset(info.element_types)
                return Owner(info.runs, info.summary(), ONLY_HASHES, is_text, wrong)
        for model, outside in self._needs().get(path, ()):
            if size >= outside.end:
                note = f"; data of {printable(model)}"
                return Owner(outside.runs, {"format": "raw"}, note, not outside.runs)
            if kind in _RAW:
                reason = f"{printable(model)} needs {outside.end} bytes of it, it has {size}"
                return Owner((), {}, refusal=Refusal(Verdict.TRUNCATED, reason))
        return None

    def _needs(self) -> dict[str, list[tuple[str, onnx.OutsideFile]]]:
        """Return by path the ONNX models whose data lie in it."""
        with self._lock:
            if self._outside is None:
                self._outside = {}
                for name in self._names:
                    if suffix_of(name) == ".onnx":
                        self._add_needs(name, self._outside)
            return self._outside

    def _add_needs(self, name: str, to: dict[str, list[tuple[str, onnx.OutsideFile]]]) -> None:
        try:
            if self.size(name) is None:
                return
            self.model(name)
        except OSError:  # said of the model itself, when it is looked at
            return
        answer = self._models[name]
        if isinstance(answer, onnx.OnnxInfo):
            for path, outside in answer.outside.items():
                to.setdefault(normpath(join(dirname(name), path)), []).append((name, outside))

    def _absent(self, path: str, info: onnx.OnnxInfo) -> Refusal | None:
        for name, outside in info.outside.items():
            size = self.size(join(dirname(path), name))
            if size is None:
                return Refusal(Verdict.CORRUPT, f"its data file {printable(name)!r} is not there")
            if size < outside.end:
                reason = f"it needs {outside.end} bytes of {printable(name)!r}, which has {size}"
                return Refusal(Verdict.TRUNCATED, reason)
        return None
