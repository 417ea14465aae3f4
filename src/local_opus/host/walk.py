"""The walk below a root: every path is resolved by descriptor and no link leads out of the root."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

#: Links that one walk may pass through; Linux itself allows 40 (path_resolution(7)).
MAX_LINKS = 40
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts(path: str) -> list[str]:
    """Return the names of a path, without empty ones and dots."""
    return [part for part in path.split("/") if part not in {"", "."}]


class Walk:
    """Finds paths below ``root``. Paths are absolute as seen from inside the root.

    A link is followed as a chroot would: an absolute target starts at the root again and ``..``
    never leaves it. Every method raises OSError as the system call does.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)

    @property
    def is_image(self) -> bool:
        """Whether the root is an image's folder, and not this machine's own."""
        return self.root != "/"

    @contextmanager
    def _at(self, path: str, *, follow: bool = False) -> Iterator[tuple[int, str]]:
        """Give the open parent folder and the last name of ``path``."""
        if not path.startswith("/") or "\0" in path:
            raise OSError(errno.EINVAL, "not an absolute path", path)
        stack = [os.open(self.root, _FOLDER)]
        try:
            queue = parts(path)
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
                if queue and (folder := self._folder(stack[-1], name)) is not None:
                    stack.append(folder)
                    continue
                target = self._link_target(stack[-1], name)
                if target is None:
                    if not queue:
                        yield stack[-1], name
                        return
                    stack.append(os.open(name, _FOLDER, dir_fd=stack[-1]))
                    continue
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    _close(stack[1:])
                    del stack[1:]
                queue = parts(target) + queue
            yield stack[-1], "."
        except OSError as error:
            raise _named(error, path)  # noqa: B904 - the error itself
        finally:
            _close(stack)

    @staticmethod
    def _folder(parent: int, name: str) -> int | None:
        """Open a folder; None where it is none, and may be a link."""
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except NotADirectoryError:
            return None

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
        if not self.is_image:
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


def _named(error: OSError, path: str) -> OSError:
    """Return an error with the path: the system call was told one name in an open folder."""
    if error.filename is not None and not str(error.filename).startswith("/"):
        error.filename = path
    return error


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
