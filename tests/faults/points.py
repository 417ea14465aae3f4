"""The points at which something can go wrong: every call that changes the machine, numbered.

``Points.watch`` puts a stand-in for the module ``os`` into the modules of the files' door, so that
each of their changing calls passes ``Points.call``; the machine of these tests sends its child
processes and its service manager through the same gate. One fault strikes at one number.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import Any, Self

#: Bytes that a disk writes at once.
_SECTOR = 512
#: What a shell says of a process that SIGKILL ended.
KILLED = 137


class Kind(StrEnum):
    """What can happen at a point. The words are those of the table."""

    KILL = "killed"
    KILL_HALF = "killed half-way"
    EIO = "I/O error"
    ENOSPC = "no space"
    FULL = "full from here on"
    DENIED = "not permitted"
    FAILS = "child fails"
    LATE = "child too slow"


@dataclass(frozen=True)
class Fault:
    """``kind`` happens at the point number ``at``."""

    kind: Kind
    at: int


@dataclass(frozen=True)
class Point:
    """One call of a run: its number, the step that made it, its name and what it was about."""

    number: int
    step: str
    name: str
    target: str
    faults: tuple[Kind, ...]


#: Calls by descriptor: their rights were looked at when it was opened.
_NO_RIGHTS_ASKED = {"write", "fsync", "ftruncate", "sync"}
#: Calls that may want a new block or inode; the others free some, or change what is there.
_GROWS = {"open", "write", "mkdir", "symlink", "link", "rename", "replace"}
_OWNERS_ALONE = {"chmod", "chown", "utime", "kill"}
_ERRNO = {Kind.EIO: errno.EIO, Kind.ENOSPC: errno.ENOSPC, Kind.FULL: errno.ENOSPC}


class Child(StrEnum):
    """What a child does to a disk: it fills it, or not."""

    FILLS = "fills"
    FREES = "frees"


def _faults_of(name: str, child: Child | None, *, parts: bool) -> tuple[Kind, ...]:
    if child is not None:
        full = (Kind.FULL,) if child is Child.FILLS else ()
        return (Kind.KILL, Kind.KILL_HALF, Kind.FAILS, Kind.LATE, *full)
    if name == "kill":
        return (Kind.KILL, Kind.DENIED)
    half = (Kind.KILL_HALF,) if parts else ()
    denied = () if name in _NO_RIGHTS_ASKED else (Kind.DENIED,)
    full = (Kind.FULL,) if name in _GROWS else ()
    return (Kind.KILL, *half, Kind.EIO, Kind.ENOSPC, *denied, *full)


class ChildFailedError(Exception):
    """A child's end in a fault: the machine turns it into what its door would say."""


@dataclass
class Points:
    """Counts the calls of one run, and lets ``fault`` happen at its number."""

    fault: Fault | None = None
    step: str = "begin"
    count: int = 0
    #: What was called, where that is to be noted.
    log: list[Point] | None = None
    #: Asked at each point: may fork, and returns a fault in the fork.
    branch: Callable[[Point], Fault | None] | None = None

    def call(
        self,
        name: str,
        target: Callable[[], str],
        do: Callable[[], Any],
        half: Callable[[], object] | None = None,
        *,
        child: Child | None = None,
    ) -> Any:
        """Make a call, or let the fault happen in its place. ``half`` does a part of it."""
        number = self.count
        self.count += 1
        if self.log is not None or self.branch is not None:
            faults = _faults_of(name, child, parts=half is not None)
            point = Point(number, self.step, name, target(), faults)
            if self.log is not None:
                self.log.append(point)
            if self.branch is not None and (met := self.branch(point)) is not None:
                self.fault, self.branch = met, None
        fault = self.fault
        if fault is None or number < fault.at:
            return do()
        if fault.kind is Kind.FULL and (child is Child.FILLS or name in _GROWS):
            return self._refuse(fault.kind, name, target, half, child=child is not None)
        if number > fault.at or fault.kind is Kind.FULL:
            return do()
        if fault.kind is Kind.KILL:
            os._exit(KILLED)
        if fault.kind is Kind.KILL_HALF:
            (half or do)()
            os._exit(KILLED)
        return self._refuse(fault.kind, name, target, half, child=child is not None)

    def _refuse(
        self,
        kind: Kind,
        name: str,
        target: Callable[[], str],
        half: Callable[[], object] | None,
        *,
        child: bool,
    ) -> Any:
        if half is not None:
            written = half()
            if not child and kind in {Kind.ENOSPC, Kind.FULL} and isinstance(written, int):
                return written  # write(2) on a disk with room for a part
        if child:
            raise ChildFailedError(kind)
        denied = errno.EPERM if name in _OWNERS_ALONE else errno.EACCES
        code = _ERRNO.get(kind, denied)
        raise OSError(code, os.strerror(code), target())

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count the calls of every module of the program that has ``os``."""
        stand_in = WatchedOs(self)
        for module in modules():
            module.os = stand_in  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for module in modules():
                module.os = os  # type: ignore[attr-defined]


@cache
def modules() -> list[ModuleType]:
    """Return the program's modules that have ``os``.

    To be called before a fork, too: each would look through all modules anew.
    """
    return [
        module for name, module in list(sys.modules.items())
        if name.startswith("local_opus.") and getattr(module, "os", None) is os
    ]  # fmt: skip


class WatchedOs:
    """The module ``os``, whose changing functions pass ``Points.call``."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        found = self._counted(name, real) if name in _CHANGING else real
        setattr(self, name, found)  # the next time it is not asked for here
        return found

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._points.call(
                name.removeprefix("f") if name in {"fchmod", "fchown"} else name,
                lambda: _place(args[_CHANGING[name]] if args else "", kwargs),
                lambda: real(*args, **kwargs),
            )

        return call

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Count an open that may make the file or cut it."""
        if not flags & (os.O_CREAT | os.O_TRUNC):
            return os.open(path, flags, mode, dir_fd=dir_fd)
        return int(
            self._points.call(
                "open",
                lambda: _place(path, {"dir_fd": dir_fd}),
                lambda: os.open(path, flags, mode, dir_fd=dir_fd),
            )
        )

    def sync(self) -> None:
        """Count a sync of all disks, and spare this machine its own."""
        self._points.call("sync", str, lambda: None)

    def write(self, descriptor: int, data: bytes) -> int:
        """Count a write; a part of it is its first half.

        Over bytes that are there, within a disk's smallest unit, it is done whole or not at all.
        """
        there = os.fstat(descriptor).st_size
        appends = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
        place = there if appends else os.lseek(descriptor, 0, os.SEEK_CUR)
        end = place + len(data)
        whole = end <= there and place // _SECTOR == (end - 1) // _SECTOR
        return int(
            self._points.call(
                "write",
                lambda: _place(descriptor, {}),
                lambda: os.write(descriptor, data),
                None if whole else lambda: os.write(descriptor, data[: len(data) // 2]),
            )
        )

    def fdopen(self, descriptor: int, mode: str = "r", buffering: int = -1) -> Any:
        """Return a stream whose writes are counted."""
        if mode == "rb":
            return os.fdopen(descriptor, mode, buffering)
        return WatchedStream(self, os.fdopen(descriptor, mode, 0), whole=buffering != 0)


class WatchedStream:
    """A stream that writes through ``WatchedOs``; ``whole``: as a buffered one, all or an error."""

    def __init__(self, watched: WatchedOs, raw: Any, *, whole: bool) -> None:
        self._watched = watched
        self._raw = raw
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def write(self, data: bytes) -> int:
        """Write; where a buffered stream is meant, go on until all is written."""
        done = self._watched.write(self._raw.fileno(), data)
        if self._whole and done < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return done

    def truncate(self, size: int) -> int:
        """Cut the file."""
        self._watched.ftruncate(self._raw.fileno(), size)
        return size


#: Changing functions of ``os``, and which argument names what they change.
_CHANGING = {
    **dict.fromkeys(("fsync", "fdatasync", "fchmod", "fchown", "ftruncate", "truncate"), 0),
    **dict.fromkeys(("unlink", "remove", "mkdir", "rmdir", "chmod", "chown", "lchown", "utime"), 0),
    **dict.fromkeys(("rename", "replace", "symlink", "link", "posix_fallocate", "setxattr"), 1),
    "removexattr": 0,
}


def _place(name: object, given: dict[str, Any]) -> str:
    """Return the path that a call is about, as the kernel knows it."""
    if isinstance(name, int):
        return os.readlink(f"/proc/self/fd/{name}")
    folder = given.get("dst_dir_fd") or given.get("dir_fd")
    if isinstance(folder, int):
        return f"{os.readlink(f'/proc/self/fd/{folder}')}/{name}"
    return str(name)
