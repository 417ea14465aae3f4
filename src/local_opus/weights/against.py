"""Lists from elsewhere that a folder is compared with: a catalog entry, a repository of a hub."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from posixpath import basename, dirname
from typing import Protocol

from local_opus.values import CatalogFile, Trust
from local_opus.weights import manifest as manifests
from local_opus.weights.classify import WEIGHTS_SUFFIXES, suffix_of
from local_opus.weights.expected import Expected

#: What ``hf download --local-dir`` and ``git clone`` leave beside the files.
_OF_THE_WAY = (".cache/huggingface/", ".git/")
_NO_NEED = re.compile(
    r"(\A|/)(\.gitattributes|\.gitignore|\.gitkeep|readme[^/]*|licen[cs]e[^/]*|notice[^/]*|"
    r"copying[^/]*|use_policy[^/]*|changelog[^/]*|[^/]*\.(md|pdf|png|jpe?g|gif|svg|webp|mp4))\Z",
    re.IGNORECASE,
)
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\Z")
_WEIGHTS = WEIGHTS_SUFFIXES | {".onnx_data", ".tflite"}
#: How the names of families begin that are weights.
_MODEL = ("gguf ", "ir ", "weights ")
#: What an install of this program writes beside the weights.
_OWN = frozenset({manifests.NAME, manifests.STAT_NAME})


class StatedFile(Protocol):
    """A file as a hub states it at a commit."""

    @property
    def path(self) -> str:
        """Where it lies in the repository."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str | None:
        """Of a file that is stored with LFS."""

    @property
    def git_sha1(self) -> str | None:
        """Of git's blob, for any other."""


@dataclass(frozen=True)
class Pins:
    """A catalog entry: each of its files must be there, under its path or under its name.

    It has no say in other files.
    """

    name: str
    files: tuple[CatalogFile, ...]
    trust: Trust = Trust.PINNED
    list_name: None = None

    def expected(self, found: Collection[str]) -> Mapping[str, Expected]:
        """Return what each path must be; one that is not found is missing."""
        places = {self._place(pin.path, found): pin for pin in self.files}
        return {
            path: Expected(
                size=pin.size,
                proof="sha256",
                sha256=pin.sha256,
                blake3=None,
                trust=self.trust,
                source=f"the catalog's {self.name}",
            )
            for path, pin in places.items()
        }

    @staticmethod
    def _place(path: str, found: Collection[str]) -> str:
        if path in found:
            return path
        named = sorted(other for other in found if basename(other) == basename(path))
        return named[0] if named else path

    def ignored(self, path: str) -> bool:
        """Whether a path belongs to the way in which the folder came, not to the model."""
        return path in _OWN or path.startswith(_OF_THE_WAY)


@dataclass(frozen=True)
class Repository:
    """A repository of a hub at a commit.

    What is there must be as it states, and nothing else may be there. Of what is not there, these
    are missing: what belongs to weights that are there (all parts of a split file, all files of
    the same kind in the same folder), and the configs beside them; a GGUF needs none. Documents
    and pictures never are. Where no weights are there, all but documents are missing.
    """

    name: str
    files: tuple[StatedFile, ...]

    @property
    def list_name(self) -> str:
        """It says of every file whether it belongs here."""
        return self.name

    def expected(self, found: Collection[str]) -> Mapping[str, Expected]:
        """Return what each path must be; one that is not found is missing."""
        if len(found) == 1 and (alone := self._alone(*found)) is not None:
            return alone
        families = {family for path in self._paths().intersection(found) for family in _with(path)}
        none = not any(_family(path).startswith(_MODEL) for path in found)
        return {
            file.path: self._expected(file)
            for file in self.files
            if file.path in found or self._needed(file.path, families, none=none)
        }

    def _alone(self, path: str) -> Mapping[str, Expected] | None:
        """Return what a single file must be that lies elsewhere than in the repository."""
        named = [file for file in self.files if basename(file.path) == basename(path)]
        if path in self._paths() or len(named) != 1:
            return None
        return {path: self._expected(named[0])}

    @staticmethod
    def _needed(path: str, families: Collection[str], *, none: bool) -> bool:
        if _NO_NEED.search(path):
            return False
        return none or _family(path) in families

    def _expected(self, file: StatedFile) -> Expected:
        return Expected(
            size=file.size,
            proof="sha256" if file.sha256 is not None else "git_sha1",
            sha256=file.sha256,
            blake3=None,
            git_sha1=file.git_sha1,
            trust=Trust.HUB,
            source=self.name,
            inspected=True,
        )

    def ignored(self, path: str) -> bool:
        """Whether a path belongs to the way in which the folder came, not to the model."""
        own = path in _OWN and path not in self._paths()
        return own or path.startswith(_OF_THE_WAY)

    def _paths(self) -> set[str]:
        return {file.path for file in self.files}


def _with(path: str) -> set[str]:
    """Return what comes with a file: its family, and the configs beside weights but GGUF."""
    family = _family(path)
    beside = {f"config {dirname(path)}"} if family.startswith(("ir ", "weights ")) else set()
    return {family, *beside}


def _family(path: str) -> str:
    """Return the name of what a file belongs to: who has one of it needs all of it."""
    suffix = suffix_of(path)
    folder = dirname(path)
    if suffix == ".gguf":
        return f"gguf {_SPLIT.sub('', path.removesuffix(suffix))}"
    if suffix == ".xml" or (suffix == ".bin" and basename(path).startswith("openvino_")):
        return f"ir {folder}"
    if suffix in _WEIGHTS:
        return f"weights {folder} {suffix}"
    if _NO_NEED.search(path):
        return f"document {path}"
    return f"config {folder}"
