"""Files below a root: every path is walked by descriptor and no link leads out of the root."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO, Literal

Kind = Literal["file", "folder", "link", "other"]

#: Links that one walk may pass through; Linux itself allows 40 (path_resolution(7)).
MAX_LINKS = 40
#: Ends the name of a file that is being written; fixed, so that a killed run leaves at most one.
NEW_SUFFIX = ".local-opus-new"


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


@dataclass(frozen=True)
class Space:
    """Bytes of a file system; ``free_inodes`` is None where it does not count them."""

    total: int
    free: int
    free_inodes: int | None


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


class Files:
    """The files below ``root``. Paths are absolute as seen from inside the root.

    A link is followed as a chroot would: an absolute target starts at the root again and ``..``
    never leaves it. Every method raises OSError as the system call does.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)

    # -- the walk -------------------------------------------------------------------------------

    @contextmanager
    def _at(self, path: str, *, follow: bool = False) -> Iterator[tuple[int, str]]:
        """Give the open parent folder and the last name of ``path``."""
        if not path.startswith("/") or "\0" in path:
            raise OSError(errno.EINVAL, "not an absolute path", path)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        stack = [os.open(self.root, flags)]
        try:
            queue = _parts(path)
            links = 0
            while queue:
                name = queue.pop(0)
                if name == "..":
                    if len(stack) > 1:
                        os.close(stack.pop())
                    continue
                if not queue and not follow:
                    yield stack[-1], name
                    return
                target = self._link_target(stack[-1], name)
                if target is None:
                    if not queue:
                        yield stack[-1], name
                        return
                    stack.append(os.open(name, flags, dir_fd=stack[-1]))
                    continue
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    while len(stack) > 1:
                        os.close(stack.pop())
                queue = _parts(target) + queue
            yield stack[-1], "."
        finally:
            for descriptor in stack:
                os.close(descriptor)

    @staticmethod
    def _link_target(parent: int, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.ENOENT}:  # no link, or nothing there
                return None
            raise

    def real_path(self, path: str) -> str:
        """Return the path as seen from outside the root, to hand to a child process.

        Below another root the links on the way are resolved, as a chroot would: a child that
        follows them itself would leave the root. What is not there yet has no links.
        """
        if self.root == "/":
            return path
        missing: list[str] = []
        while True:
            try:
                with self._at(path) as (parent, name):
                    folder = os.readlink(f"/proc/self/fd/{parent}")
            except FileNotFoundError:
                path, _, last = path.rstrip("/").rpartition("/")
                missing.append(last)
                continue
            return os.path.join(folder, name, *reversed(missing))

    # -- reading --------------------------------------------------------------------------------

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
        )

    def open_read(self, path: str, *, follow: bool = True) -> BinaryIO:
        """Open a regular file for reading; a FIFO, device or folder raises OSError(EINVAL)."""
        with self._at(path, follow=follow) as (parent, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise

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

    def walk(self, path: str, *, folders: bool = False) -> Iterator[tuple[str, FileStat]]:
        """Yield the relative path of everything below a folder, sorted, without following links.

        Folders themselves are yielded, before what they hold, only where ``folders`` is true.
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
                    below.append(child)
                    if folders:
                        yield child, found
                else:
                    yield child, found
            pending.extend(reversed(below))

    def space(self, path: str) -> Space:
        """Return the space of the file system of ``path`` or of its nearest existing parent."""
        while self.stat(path, follow=True) is None and path not in {"", "/"}:
            path = path.rpartition("/")[0] or "/"
        with self._at(path, follow=True) as (parent, name):
            descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=parent)
        try:
            found = os.fstatvfs(descriptor)
        finally:
            os.close(descriptor)
        return Space(
            total=found.f_blocks * found.f_frsize,
            free=found.f_bavail * found.f_frsize,
            free_inodes=found.f_favail if found.f_files else None,
        )

    def can_open(self, path: str) -> str | None:
        """Open a node for reading and writing and close it; return why that failed, or None."""
        try:
            with self._at(path, follow=True) as (parent, name):
                flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, dir_fd=parent))
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None

    # -- writing --------------------------------------------------------------------------------

    def write_atomic(
        self,
        path: str,
        data: bytes,
        *,
        mode: int = 0o644,
        uid: int | None = None,
        gid: int | None = None,
        durable: bool = True,
    ) -> None:
        """Write beside ``path``, fsync, rename over it, fsync the folder.

        With ``durable`` false nothing is synced: the caller syncs many files at once.
        """
        with self._at(path) as (parent, name):
            new = f".{name}{NEW_SUFFIX}"
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
                    if durable:
                        os.fsync(descriptor)
                os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=parent)
                raise
            if durable:
                self._sync_folder(parent)

    def open_partial(self, path: str) -> BinaryIO:
        """Open a partial download for reading and writing, made 0600 where it is not there."""
        with self._at(path) as (parent, name):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            return os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "r+b")

    def open_append(self, path: str, *, mode: int = 0o600) -> BinaryIO:
        """Open a file for appending, unbuffered, made with ``mode`` where it is not there."""
        with self._at(path) as (parent, name):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.fdopen(os.open(name, flags, mode, dir_fd=parent), "ab", buffering=0)

    def make_folder(
        self, path: str, *, mode: int = 0o755, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Make one folder with exactly this mode and owner."""
        with self._at(path) as (parent, name):
            os.mkdir(name, 0o700, dir_fd=parent)
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
        for part in _parts(path):
            current += f"/{part}"
            if self.stat(current, follow=True) is None:
                self.make_folder(current, mode=mode)
                made.append(current)
        return made

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
        """Remove a folder and all below it; links are removed, not followed."""
        for child, found in reversed(list(self.walk(path, folders=True))):
            with self._at(f"{path}/{child}") as (parent, name):
                if found.kind == "folder":
                    os.rmdir(name, dir_fd=parent)
                else:
                    os.unlink(name, dir_fd=parent)
        self.remove_folder(path)

    def rename(self, old: str, new: str) -> None:
        """Rename within a file system and fsync both folders."""
        with self._at(old) as (old_parent, old_name), self._at(new) as (new_parent, new_name):
            os.rename(old_name, new_name, src_dir_fd=old_parent, dst_dir_fd=new_parent)
            self._sync_folder(old_parent)
            self._sync_folder(new_parent)

    def symlink(self, target: str, path: str) -> None:
        """Make a link."""
        with self._at(path) as (parent, name):
            os.symlink(target, name, dir_fd=parent)
            self._sync_folder(parent)

    def set_mode(self, path: str, mode: int) -> None:
        """Set the permission bits of a file or folder."""
        with self._own(path) as descriptor:
            os.fchmod(descriptor, mode)

    def set_owner(self, path: str, uid: int, gid: int) -> None:
        """Set the owner of a file, folder or link itself."""
        with self._at(path) as (parent, name):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)

    def sync(self, path: str) -> None:
        """Fsync a file or folder."""
        with self._own(path) as descriptor:
            os.fsync(descriptor)

    @staticmethod
    def sync_all() -> None:
        """Bring everything written so far to stable storage: sync(2)."""
        os.sync()

    @contextmanager
    def _own(self, path: str) -> Iterator[int]:
        with self._at(path) as (parent, name):
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
