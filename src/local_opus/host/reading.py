"""What can be read of the files below a root."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from local_opus.host.walk import Walk

Kind = Literal["file", "folder", "link", "other"]
#: The unit of st_blocks, whatever the file system's own blocks are (stat(2)).
_BLOCK = 512
#: Written parts of a sparse file that are looked at; what comes after them counts as written.
_MAX_PARTS = 256


@dataclass(frozen=True)
class FileStat:
    """What lstat says; ``mode`` holds the permission bits only, times are nanoseconds."""

    kind: Kind
    size: int
    mode: int
    uid: int
    gid: int
    inode: int
    device: int
    mtime_ns: int
    ctime_ns: int
    links: int
    #: Bytes that the file system gave out for it; far fewer than ``size`` in a sparse or compressed
    #: file. It may change without the file being touched, so it tells no two stats apart.
    allocated: int = field(default=0, compare=False)

    @property
    def what(self) -> str:
        """Say what it is, e.g. ``a link``."""
        return "a pipe, socket or device" if self.kind == "other" else f"a {self.kind}"


@dataclass(frozen=True)
class Space:
    """Bytes of a file system; ``free_inodes`` is None where it does not count them."""

    total: int
    free: int
    free_inodes: int | None
    #: Tells one file system from another.
    device: int = 0


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def _holes(descriptor: int, size: int) -> tuple[int, int]:
    written = end = 0
    for _ in range(_MAX_PARTS):
        try:
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing was written from here on
                return size - written, max(0, size - end)
            if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:
                return 0, 0
            raise
        if begin >= size:
            return size - written, max(0, size - end)
        end = min(os.lseek(descriptor, begin, os.SEEK_HOLE), size)
        written += end - begin
        if end == size:
            return size - written, 0
    return end - written, 0


class Reading(Walk):
    """Reads below the root. Every method raises OSError as the system call does."""

    def stat(self, path: str, *, follow: bool = False) -> FileStat | None:
        """Return what is at ``path``; None when nothing is, or a parent is no folder."""
        try:
            with self._at(path, follow=follow) as (parent, name):
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return FileStat(
            kind=_kind(found.st_mode),
            size=found.st_size,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            inode=found.st_ino,
            device=found.st_dev,
            mtime_ns=found.st_mtime_ns,
            ctime_ns=found.st_ctime_ns,
            links=found.st_nlink,
            allocated=found.st_blocks * _BLOCK,
        )

    def open_read(self, path: str, *, follow: bool = True) -> BinaryIO:
        """Open a regular file for reading; a FIFO, device or folder raises OSError(EINVAL)."""
        with self._at(path, follow=follow) as (parent, name):
            # To open some devices is to do something with them, so look first.
            if not stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise

    def holes(self, stream: BinaryIO, size: int) -> tuple[int, int]:
        """Return the bytes of an open file that were never written, and those of them at its end.

        A file system that keeps no account of holes says that there are none.
        """
        descriptor = stream.fileno()
        place = os.lseek(descriptor, 0, os.SEEK_CUR)  # the stream believes that it stays there
        try:
            return _holes(descriptor, size)
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)

    def read_bytes(self, path: str, limit: int | None = None) -> bytes:
        """Return a file's bytes, the first ``limit`` of them where a limit is given."""
        with self.open_read(path) as stream:
            return stream.read() if limit is None else stream.read(limit)

    def read_text(self, path: str, limit: int | None = None) -> str:
        """Return a file's text; bytes that are no UTF-8 become U+FFFD."""
        return self.read_bytes(path, limit).decode("utf-8", errors="replace")

    def read_link(self, path: str) -> str:
        """Return the target of a link as it is written."""
        with self._at(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)

    def list(self, path: str) -> list[str]:
        """Return the sorted names in a folder."""
        with self._at(path, follow=True) as (parent, name):
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def walk(
        self, path: str, *, folders: bool = False, depth: int | None = None
    ) -> Iterator[tuple[str, FileStat]]:
        """Yield the relative path of everything below a folder, sorted, without following links.

        Folders themselves are yielded, before what they hold, only where ``folders`` is true.
        ``depth``: a folder so many names below ``path`` is not entered, and always yielded.
        """
        pending = [""]
        while pending:
            relative = pending.pop()
            below = []
            for name in self.list(f"{path}/{relative}"):
                child = f"{relative}/{name}" if relative else name
                found = self.stat(f"{path}/{child}")
                if found is None:  # removed since it was listed
                    continue
                if found.kind == "folder":
                    ends = depth is not None and child.count("/") + 1 >= depth
                    if not ends:
                        below.append(child)
                    if folders or ends:
                        yield child, found
                else:
                    yield child, found
            pending.extend(reversed(below))

    def space(self, path: str) -> Space:
        """Return the space of the file system of ``path`` or of its nearest parent in reach."""
        while not self._is_in_reach(path) and path not in {"", "/"}:
            path = path.rpartition("/")[0] or "/"
        with self._at(path, follow=True) as (parent, name):
            descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=parent)
        try:
            found = os.fstatvfs(descriptor)
            device = os.fstat(descriptor).st_dev
        finally:
            os.close(descriptor)
        return Space(
            total=found.f_blocks * found.f_frsize,
            free=found.f_bavail * found.f_frsize,
            free_inodes=found.f_favail if found.f_files else None,
            device=device,
        )

    def _is_in_reach(self, path: str) -> bool:
        try:
            return self.stat(path, follow=True) is not None
        except PermissionError:  # a folder on the way is closed; its own file system is the nearest
            return False

    def can_open(self, path: str) -> str | None:
        """Open a node for reading and writing and close it; return why that failed, or None."""
        try:
            with self._at(path, follow=True) as (parent, name):
                flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, dir_fd=parent))
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None
