"""What verification and the manifest need of a machine: a few methods of its files.

The server verifies too and may not import ``host``, so they name what they call. ``host.Host`` has
it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, Protocol

#: Told while work goes on: what is being worked on, units done, units in all (0: not known).
Progress = Callable[[str, int, int], None]


class Stat(Protocol):
    """What lstat says of a file; times are nanoseconds."""

    @property
    def kind(self) -> Literal["file", "folder", "link", "other"]:
        """What it is; other: a FIFO, socket or device."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def allocated(self) -> int:
        """Bytes that the file system gave out for it."""

    @property
    def inode(self) -> int:
        """The number of the file on its file system."""

    @property
    def mtime_ns(self) -> int:
        """When the content last changed, as the owner may set it."""

    @property
    def ctime_ns(self) -> int:
        """When content or metadata last changed, as the kernel sets it."""


class ReadFiles(Protocol):
    """The reading half of ``host.Files``; every method raises OSError as the system call does."""

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """Return what is at ``path``, or None."""

    def open_read(self, path: str, *, follow: bool = True) -> BinaryIO:
        """Open a regular file; anything else raises OSError(EINVAL)."""

    def holes(self, stream: BinaryIO, size: int) -> tuple[int, int]:
        """Return the bytes of an open file never written, and those of them at its end."""

    def read_bytes(self, path: str, limit: int | None = None) -> bytes:
        """Return the first ``limit`` bytes, or all."""

    def read_link(self, path: str) -> str:
        """Return a link's target as it is written."""

    def walk(self, path: str, *, depth: int | None = None) -> Iterator[tuple[str, Stat]]:
        """Yield the relative path of every non-folder below ``path``; links are not followed.

        ``depth``: a folder so many names below ``path`` is not entered, and yielded itself.
        """


class Reader(Protocol):
    """A machine whose files can be read."""

    @property
    def files(self) -> ReadFiles:
        """The door to the files."""


class Machine(Reader, Protocol):
    """A machine whose files are read by several cores at once."""

    @property
    def cores(self) -> int:
        """Cores that this process may use."""


class WriteFiles(ReadFiles, Protocol):
    """Reading, and writing whole files."""

    def write_atomic(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Replace a file by ``data`` as a whole."""


class Writer(Protocol):
    """A machine whose files can be read and written."""

    @property
    def files(self) -> WriteFiles:
        """The door to the files."""
