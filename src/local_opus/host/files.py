"""Files below a root: what is read, and the only ways in which something is written."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

from local_opus.host.kernel_files import KernelFiles
from local_opus.host.reading import FileStat, Space
from local_opus.host.walk import parts

__all__ = ["FileStat", "Files", "Space", "new_name"]

#: Ends the name of a file that is being written; fixed, so that a killed run leaves at most one.
_NEW_SUFFIX = ".local-opus-new"


def new_name(name: str) -> str:
    """Return the name under which the file ``name`` is written, in the same folder."""
    return f".{name}{_NEW_SUFFIX}"


def is_new_name(name: str) -> bool:
    """Tell whether a file or folder of this name is one that is being written."""
    return name.startswith(".") and name.endswith(_NEW_SUFFIX)


def _new_path(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{new_name(name)}"


class Files(KernelFiles):
    """The files below the root. Every method raises OSError as the system call does."""

    def write_atomic(
        self,
        path: str,
        data: bytes,
        *,
        mode: int = 0o644,
        uid: int | None = None,
        gid: int | None = None,
        mtime_ns: int | None = None,
        durable: bool = True,
    ) -> None:
        """Write beside ``path``, fsync, rename over it, fsync the folder.

        With ``durable`` false nothing is synced: the caller syncs many files at once.
        """
        with self._at(path) as (parent, name):
            new = new_name(name)
            with suppress(FileNotFoundError):  # of a run that was killed
                os.unlink(new, dir_fd=parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(new, flags, 0o600, dir_fd=parent)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    if uid is not None or gid is not None:
                        os.fchown(
                            descriptor, -1 if uid is None else uid, -1 if gid is None else gid
                        )
                    os.fchmod(descriptor, mode)
                    if mtime_ns is not None:
                        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
                    if durable:
                        os.fsync(descriptor)
                os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=parent)
                raise
            if durable:
                self._sync_folder(parent)

    def open_in_place(self, path: str) -> BinaryIO:
        """Open a file to read and change it in place, made 0600 where it is not there."""
        with self._at(path) as (parent, name):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            return os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "r+b")

    def open_append(self, path: str, *, mode: int = 0o600) -> BinaryIO:
        """Open a file for appending, unbuffered, made with ``mode`` where it is not there."""
        with self._at(path) as (parent, name):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(descriptor, "ab", buffering=0)

    def make_folder(
        self, path: str, *, mode: int = 0o755, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Make one folder with exactly this mode and owner."""
        with self._at(path) as (parent, name):
            # With its mode from the start: a kill before the next call must leave no other one.
            os.mkdir(name, mode, dir_fd=parent)
            descriptor = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent
            )
            try:
                if uid is not None or gid is not None:
                    os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)
            self._sync_folder(parent)

    def make_folders(self, path: str, *, mode: int = 0o755) -> Sequence[str]:
        """Make every missing folder of a path; return those made, the outermost first."""
        made = []
        current = ""
        for part in parts(path):
            current += f"/{part}"
            if self.stat(current, follow=True) is not None:
                continue
            try:
                self.make_folder(current, mode=mode)
            except FileExistsError:
                if self.stat(current, follow=True) is None:  # a link to nothing
                    raise
                continue  # another run has just made it
            made.append(current)
        return made

    def missing(self, path: str) -> list[str]:
        """Return the levels of a path that are not there, the outermost first."""
        levels: list[str] = []
        while path and self.stat(path, follow=True) is None:
            levels.insert(0, path)
            path = path.rpartition("/")[0]
        return levels

    def discard(self, path: str) -> None:
        """Remove a file or a link where it is there, and what a killed write of it has left."""
        self.discard_new(path)
        if self.stat(path) is not None:
            self.remove(path)

    def has_new(self, path: str) -> bool:
        """Tell whether a killed ``write_atomic`` or ``symlink`` of ``path`` has left something."""
        return self.stat(_new_path(path)) is not None

    def discard_new(self, path: str) -> None:
        """Remove what a killed ``write_atomic`` or ``symlink`` of ``path`` has left."""
        if self.has_new(path):
            self.remove(_new_path(path))

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        with self._at(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
            self._sync_folder(parent)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        with self._at(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
            self._sync_folder(parent)

    def remove_tree(self, path: str) -> None:
        """Remove a folder and all below it; links are removed, not followed, ``path`` too."""
        found = self.stat(path)
        if found is not None and found.kind != "folder":
            self.remove(path)
            return
        with self._at(path) as (parent, name):
            try:
                shutil.rmtree(name, dir_fd=parent)  # by descriptors: no link leads it elsewhere
            except PermissionError:
                self.open_all(path)
                shutil.rmtree(name, dir_fd=parent)
            self._sync_folder(parent)

    def rename(self, old: str, new: str) -> None:
        """Rename within a file system and fsync both folders."""
        with self._at(old) as (old_parent, old_name), self._at(new) as (new_parent, new_name):
            os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)
            # The new name first: without a journal, a power loss between the two must not leave
            # the file without any.
            self._sync_folder(new_parent)
            self._sync_folder(old_parent)

    def link(self, path: str, new: str) -> None:
        """Give a file a further name ``new``, which must be free; fsync its folder."""
        with self._at(path) as (parent, name), self._at(new) as (new_parent, new_name):
            os.link(name, new_name, src_dir_fd=parent, dst_dir_fd=new_parent, follow_symlinks=False)
            self._sync_folder(new_parent)

    def symlink(self, target: str, path: str) -> None:
        """Make a link, also in the place of a link or file that is there: it is never missing."""
        with self._at(path) as (parent, name):
            new = new_name(name)
            with suppress(FileNotFoundError):  # of a run that was killed
                os.unlink(new, dir_fd=parent)
            os.symlink(target, new, dir_fd=parent)
            try:
                os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(new, dir_fd=parent)
                raise
            self._sync_folder(parent)

    def sync(self, path: str) -> None:
        """Fsync a file or folder, also one that a link leads to."""
        with self._own(path, follow=True) as descriptor:
            os.fsync(descriptor)

    @contextmanager
    def hold_folder(self, path: str) -> Iterator[int]:
        """Give a folder's descriptor, to be locked."""
        with self._at(path or "/", follow=True) as (parent, name):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def sync_all() -> None:
        """Bring everything written so far to stable storage: sync(2)."""
        os.sync()

    @contextmanager
    def _own(self, path: str, *, follow: bool = False) -> Iterator[int]:
        with self._at(path, follow=follow) as (parent, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _sync_folder(parent: int) -> None:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
