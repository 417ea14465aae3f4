"""A folder in memory, read through the door that verification names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO


@dataclass(frozen=True)
class Stat:
    """A regular file that was written once."""

    size: int
    inode: int
    kind: str = "file"
    mtime_ns: int = 1
    ctime_ns: int = 1

    @property
    def allocated(self) -> int:
        """It has no holes."""
        return self.size


class Files:
    """The files of ``/m``."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = {f"/m/{name}": data for name, data in files.items()}

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """Return what is at ``path``."""
        names = list(self._files)
        return Stat(len(self._files[path]), names.index(path)) if path in names else None

    def open_read(self, path: str, *, follow: bool = True) -> BinaryIO:
        """Open one."""
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return BytesIO(self._files[path])

    def holes(self, stream: BinaryIO, size: int) -> tuple[int, int]:
        """There are none."""
        return 0, 0

    def read_bytes(self, path: str, limit: int | None = None) -> bytes:
        """Return the first ``limit`` bytes."""
        return self.open_read(path).read(limit)

    def read_link(self, path: str) -> str:
        """There are no links."""
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)

    def walk(self, path: str) -> Iterator[tuple[str, Stat]]:
        """Yield every file."""
        for name in self._files:
            found = self.stat(name)
            if found is not None:
                yield name.removeprefix(f"{path}/"), found


class Folder:
    """A machine that has only the folder ``/m``."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = Files(files)
