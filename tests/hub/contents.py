"""What files hold: bytes in memory, or a file on disk. Their digests are made when first asked."""

from __future__ import annotations

import hashlib
import os
import random
from functools import cached_property
from pathlib import Path

BLOCK = 1 << 20


class Content:
    """The bytes of one file. ``sha256`` may be given for one on disk, to spare hashing it."""

    def __init__(self, source: bytes | str | Path, sha256: str | None = None) -> None:
        self.data = source if isinstance(source, bytes) else None
        self.path = None if isinstance(source, bytes) else Path(source)
        self.size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
        if sha256 is not None:
            self.__dict__["sha256"] = sha256

    @property
    def known_sha256(self) -> str | None:
        """The sha256 where it was given or made already."""
        return self.__dict__.get("sha256")

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the bytes, in hex."""
        return self._digest("sha256", b"")

    @cached_property
    def git_oid(self) -> str:
        """The id that git gives these bytes, in hex."""
        return self._digest("sha1", b"blob %d\0" % self.size)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` up to ``stop``."""
        if self.data is not None:
            return self.data[start:stop]
        with self.path.open("rb") as stream:
            stream.seek(start)
            return stream.read(stop - start)

    def _digest(self, name: str, prefix: bytes) -> str:
        digest = hashlib.new(name, prefix)
        for start in range(0, self.size, BLOCK):
            digest.update(self.read(start, min(start + BLOCK, self.size)))
        return digest.hexdigest()


def pointer(content: Content) -> bytes:
    """Return what git holds in place of a large file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{content.sha256}\n"
        f"size {content.size}\n"
    ).encode()


def git_oid(data: bytes) -> str:
    """Return the id that git gives these bytes."""
    return Content(data).git_oid


def generated(path: Path, size: int, seed: int) -> Path:
    """Write ``size`` bytes that follow from ``seed`` to ``path``, unless they are there already."""
    if path.exists() and path.stat().st_size == size:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    source = random.Random(seed)
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as stream:
        for start in range(0, size, BLOCK):
            stream.write(source.randbytes(min(BLOCK, size - start)))
    new.replace(path)
    return path
