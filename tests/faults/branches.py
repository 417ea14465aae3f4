"""A run that forks at its points: each fork goes on, with a fault, on a copy of the machine.

So what came before a point is run once, and not again for each fault. A fork is a process of its
own on files of its own: every descriptor that it has below the root is opened anew below the copy,
with the same flags, place and lock.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import trees
from points import Fault, Kind, Point, Points

_GONE = " (deleted)"


@dataclass
class Branching:
    """Asks, at each point, which faults are to be tried there, and tries them in forks."""

    points: Points
    wanted: Callable[[Point], tuple[Kind, ...]]
    #: Called in the fork: moves the machine to its copy.
    move: Callable[[Path, Path], None]
    folder: Path
    #: Called in the run when a fork has ended, with its fault, its files and its wait status.
    tell: Callable[[Fault, Path, int], None]

    def at(self, point: Point) -> Fault | None:
        """Return the fault to meet, in a fork; None in the run itself."""
        for kind in self.wanted(point):
            fault = Fault(kind, point.number)
            target = self.folder.parent / f"branch-{point.number}-{kind.name}"
            target.mkdir()
            for part in ("root", "beside"):
                trees.copy(self.folder / part, target / part)
            pid = os.fork()
            if pid == 0:
                _move_descriptors(self.folder / "root", target / "root")
                self.move(self.folder, target)
                return fault
            _, status = os.waitpid(pid, 0)
            self.tell(fault, target, os.waitstatus_to_exitcode(status))
        return None


def _move_descriptors(old: Path, new: Path) -> None:
    prefix = f"{old}/"
    for number in _descriptors():
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # of the listing itself
            continue
        if not f"{path}/".startswith(prefix):
            continue
        info = dict(
            line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{number}").read_text().splitlines() if ":" in line
        )  # fmt: skip
        flags, place = int(info["flags"], 8), int(info["pos"])
        moved = _open(f"{new}{path[len(str(old)) :]}", flags, number, new)
        if "lock" in info:
            fcntl.flock(moved, fcntl.LOCK_EX)
        if place and not flags & os.O_PATH:
            os.lseek(moved, place, os.SEEK_SET)
        os.dup2(moved, number, inheritable=False)
        os.close(moved)


def _descriptors() -> Iterator[int]:
    yield from sorted(int(name) for name in os.listdir("/proc/self/fd"))


def _open(path: str, flags: int, number: int, root: Path) -> int:
    if not path.endswith(_GONE):
        return os.open(path, flags)
    # Open, but without a name any more: so is its copy.
    if not flags & os.O_DIRECTORY:
        return os.open(tempfile.gettempdir(), os.O_RDWR | os.O_TMPFILE, 0o600)
    folder = tempfile.mkdtemp(dir=root.parent)
    try:
        return os.open(folder, flags)
    finally:
        os.rmdir(folder)
