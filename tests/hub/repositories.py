"""Repositories: commits, each with its files, and the branches and tags that name commits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hub.contents import Content, git_oid, pointer

#: Files with these suffixes are large by rule, as a new repository's .gitattributes says.
LFS_SUFFIXES = frozenset(
    [
        ".7z",
        ".arrow",
        ".bin",
        ".bz2",
        ".ckpt",
        ".ftz",
        ".gguf",
        ".gz",
        ".h5",
        ".joblib",
        ".mlmodel",
        ".model",
        ".msgpack",
        ".npy",
        ".npz",
        ".onnx",
        ".ot",
        ".parquet",
        ".pb",
        ".pickle",
        ".pkl",
        ".pt",
        ".pth",
        ".rar",
        ".safetensors",
        ".tar",
        ".tflite",
        ".tgz",
        ".wasm",
        ".xz",
        ".zip",
        ".zst",
    ]
)
#: A file that is larger is large, whatever its name is.
LFS_SIZE = 10_000_000
COMMIT = re.compile(r"[0-9a-f]{40}")

Source = bytes | str | Path | Content


@dataclass(frozen=True)
class Entry:
    """One file at one commit."""

    path: str
    content: Content
    commit: str

    @property
    def lfs(self) -> bool:
        """Whether git holds a pointer in its place."""
        return Path(self.path).suffix in LFS_SUFFIXES or self.content.size > LFS_SIZE

    @cached_property
    def oid(self) -> str:
        """The git id of what git holds."""
        return git_oid(pointer(self.content)) if self.lfs else self.content.git_oid

    @property
    def etag(self) -> str:
        """The digest by which the hub names the content."""
        return self.content.sha256 if self.lfs else self.content.git_oid


@dataclass
class Repository:
    """A model repository. ``gated`` is False, "auto" or "manual"; ``tokens`` may read it then."""

    name: str
    license: str | None = "apache-2.0"
    gated: bool | str = False
    private: bool = False
    tokens: Collection[str] = ()
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(
        self, files: Mapping[str, Source], *, branch: str = "main", commit: str | None = None
    ) -> str:
        """Make a commit that holds just ``files``, move the branch to it, and return its id."""
        contents = {
            path: source if isinstance(source, Content) else Content(source)
            for path, source in files.items()
        }
        if commit is None:
            parts = [self.name, self.branches.get(branch, "")]
            for path, content in contents.items():
                parts += [path, str(content.size), Entry(path, content, "").etag]
            commit = hashlib.sha1("\0".join(parts).encode()).hexdigest()
        assert COMMIT.fullmatch(commit), commit
        self.commits[commit] = {
            path: Entry(path, content, commit) for path, content in contents.items()
        }
        self.branches[branch] = commit
        return commit

    @property
    def head(self) -> str:
        """The commit of the branch main."""
        return self.branches["main"]

    def resolve(self, revision: str) -> str | None:
        """Return the commit that a branch, a tag, a ref or a commit id names; None without one."""
        if revision in self.commits:
            return revision
        for prefix in ("refs/heads/", "refs/tags/"):
            revision = revision.removeprefix(prefix)
        return self.branches.get(revision) or self.tags.get(revision)

    def is_open_to(self, token: str | None) -> bool:
        """Whether files come to who shows this token."""
        return not (self.gated or self.private) or token in self.tokens
