"""Watches the system calls by which a program changes the files below a folder.

Python's own functions are replaced for a while, so code needs no door of its own to be watched; what
a buffered stream writes is not seen, its fsync is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

#: Calls whose first argument is a descriptor.
BY_DESCRIPTOR = ("pwrite", "write", "ftruncate", "fsync", "fdatasync", "fchmod")
#: Calls whose first argument is a name, below ``dir_fd`` or (``src_dir_fd``) where it is given.
BY_NAME = ("rename", "replace", "unlink", "rmdir", "mkdir", "symlink", "chmod", "chown", "utime")
#: Calls that change what a folder lists.
LISTED = frozenset({"rename", "replace", "unlink", "rmdir", "mkdir", "symlink", "open"})
SYNCS = frozenset({"fsync", "fdatasync"})


@dataclass(frozen=True)
class Call:
    """One call: its name, the path that it is about, and its descriptor where it has one."""

    name: str
    path: str
    descriptor: int | None

    @property
    def is_sync(self) -> bool:
        return self.name in SYNCS


def path_of(descriptor: int) -> str:
    """Return what a descriptor leads to."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


@contextmanager
def watched(
    root: str,
    before: Callable[[Call], None] = lambda _: None,
    after: Callable[[Call], None] = lambda _: None,
) -> Iterator[None]:
    """Tell of each call that changes something below ``root``, before and after it.

    What ``before`` raises comes in the place of the call. Threads take turns.
    """
    turn = threading.RLock()
    inside = f"{os.path.realpath(root).rstrip('/')}/"

    def tell(name: str, path: str, descriptor: int | None, call: Callable[[], object]) -> object:
        if not f"{path}/".startswith(inside):
            return call()
        told = Call(name, path, descriptor)
        with turn:
            before(told)
            result = call()
            after(told)
        return result

    def by_descriptor(name: str, honest: Callable[..., object]) -> Callable[..., object]:
        def called(first: int, *args: object, **how: object) -> object:
            return tell(name, path_of(first), first, lambda: honest(first, *args, **how))

        return called

    def by_name(name: str, honest: Callable[..., object]) -> Callable[..., object]:
        def called(*args: object, **how: object) -> object:
            if name == "open" and not int(args[1]) & os.O_CREAT:  # type: ignore[call-overload]
                return honest(*args, **how)
            which = 1 if name == "symlink" else 0
            path = args[which]
            if isinstance(path, int):  # chmod of a descriptor
                return tell(name, path_of(path), path, lambda: honest(*args, **how))
            folder = how.get("src_dir_fd", how.get("dir_fd"))
            if isinstance(folder, int):
                path = os.path.join(path_of(folder), os.fsdecode(path))  # type: ignore[type-var]
            return tell(name, os.fsdecode(path), None, lambda: honest(*args, **how))  # type: ignore[arg-type]

        return called

    with ExitStack() as stack:
        for name in BY_DESCRIPTOR:
            stack.enter_context(patch.object(os, name, by_descriptor(name, getattr(os, name))))
        for name in (*BY_NAME, "open"):
            stack.enter_context(patch.object(os, name, by_name(name, getattr(os, name))))
        yield
