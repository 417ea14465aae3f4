"""One run of an operation, with faults in forks that these may end, and what it left."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path

import trees
import worlds
from branches import Branching
from played_machine import Machine
from points import Fault, Kind, Point, Points, modules
from worlds import Variant

from local_opus import install, node, program, selftest, uninstall
from local_opus.cli import run as run_command
from local_opus.report.reporter import QuietReporter

#: What goes into an environment: two files stand for all.
_PROGRAM = (("__init__.py", b"\n"), ("cli/main.py", b"pass\n"))
OPERATIONS = ("install", "rollback", "upgrade", "uninstall", "purge")


class Clock:
    """Time passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.now += max(seconds, 0.5)


class Ticks:
    """Each look at it is a second later, so that what is measured by it is the same every time."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """Return the seconds."""
        self.now += 1.0
        return self.now


class Steps(QuietReporter):
    """Tells the points which step runs."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def started(self, step: str, summary: str) -> None:
        """A step begins."""
        self._points.step = step

    def finished(self, step: str, outcome: str) -> None:
        """What comes now is nobody's step."""
        self._points.step = "between"


@dataclass
class Ended:
    """How a run ended: its exit code, its words on standard error, what it told of kept things."""

    code: int
    err: str = ""
    kept: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a machine's files are."""

    variant: Variant
    folder: Path

    @property
    def root(self) -> Path:
        """Its root."""
        return self.folder / "root"

    def machine(self, points: Points | None = None) -> Machine:
        """Return the machine."""
        variant = self.variant
        return Machine(
            self.root, self.folder / "beside", points or Points(), scope=variant.scope,
            systemd=variant.systemd, image=variant.image,
        )  # fmt: skip

    def copy_to(self, folder: Path) -> Place:
        """Return a copy."""
        folder.mkdir()
        trees.copy(self.root, folder / "root")
        trees.copy(self.folder / "beside", folder / "beside")
        return Place(self.variant, folder)

    def tree(self) -> trees.Tree:
        """Return what lies there."""
        return trees.read(self.root, worlds.left_out)


def fresh(variant: Variant, folder: Path) -> Place:
    """Return a new machine on which nothing of ours is."""
    folder.mkdir()
    worlds.build(folder / "root", variant)
    (folder / "beside").mkdir()
    return Place(variant, folder)


Wanted = Callable[[Point], tuple[Kind, ...]]


def run(place: Place, operation: str, *, note: bool = False) -> Ended:
    """Run an operation without a fault, in this process; ``note`` its points.

    What it leaves is on its files alone, as after any run: a fork would take it half as long again.
    Raises AssertionError where it leaves a descriptor open.
    """
    before = os.listdir("/proc/self/fd")
    ended = _perform(place, operation, Points(log=[] if note else None))
    if os.listdir("/proc/self/fd") != before:
        raise AssertionError(f"{operation} left a descriptor open")
    place.machine().table.end_waiting()
    return ended


def run_branching(
    place: Place, operation: str, wanted: Wanted
) -> Iterator[tuple[Fault, Place, Ended]]:
    """Run an operation; at each point try the faults that are ``wanted`` there, in forks of it.

    Yields the fault that each fork met, its machine (until the next one), and how it ended.
    """
    asking, answering = os.pipe()

    def tell(fault: Fault, folder: Path, code: int) -> None:
        os.write(told, json.dumps([fault.kind, fault.at, str(folder), code]).encode() + b"\n")
        if not os.read(asking, 1):  # whoever looked is gone
            os._exit(98)

    reading, told = os.pipe()
    points = Points()
    branching = Branching(points, wanted, lambda _old, _new: None, place.folder, tell)
    points.branch = branching.at
    child = _child(place, operation, branching, (reading, answering))
    os.close(told)
    os.close(asking)
    try:
        with os.fdopen(reading) as lines:
            for line in lines:
                kind, at, folder, code = json.loads(line)
                branch = Place(place.variant, Path(folder))
                yield Fault(Kind(kind), at), branch, _ended(branch, code)
                shutil.rmtree(folder)
                os.write(answering, b"1")
    finally:
        os.close(answering)  # a run that waits for an answer ends with this
        os.waitpid(child, 0)


def _child(place: Place, operation: str, branching: Branching, not_its: tuple[int, ...]) -> int:
    modules()
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in not_its:
                os.close(descriptor)
            gc.disable()
            ended = _perform(place, operation, branching.points, branching)
            # Temporary files are where its machine is now.
            Path(tempfile.gettempdir(), "ended").write_text(json.dumps(asdict(ended)))
        except BaseException:  # noqa: BLE001 - nothing of the tests' own process may go on here
            traceback.print_exc()
            os._exit(99)
        os._exit(0)
    return pid


def _ended(place: Place, code: int) -> Ended:
    place.machine().table.end_waiting()
    if code != 0:
        return Ended(code)
    path = place.folder / "ended"
    ended = Ended(**json.loads(path.read_text()))
    path.unlink()
    return ended


def _perform(
    place: Place, operation: str, points: Points, branching: Branching | None = None
) -> Ended:
    tempfile.tempdir = str(place.folder)
    program.files = lambda: iter(_PROGRAM)
    node.time = Clock()  # type: ignore[assignment]
    selftest.time = Ticks()  # type: ignore[assignment]
    machine = place.machine(points)
    if branching is not None:
        branching.move = lambda _old, new: _move(machine, new)
    kept: list[str] = []
    pending: list[str] = []
    words = io.StringIO()
    with redirect_stderr(words):
        with points.watch():
            code = run_command(
                lambda: _call(machine, place.variant, operation, Steps(points), kept)
            )
        if code == 0 and operation in {"install", "upgrade"}:
            pending = install.pending(machine, _choice(place.variant, operation))
    return Ended(code, words.getvalue(), tuple(kept), tuple(pending), tuple(points.log or ()))


def _move(machine: Machine, folder: Path) -> None:
    machine.move(folder)
    tempfile.tempdir = str(folder)


def _choice(variant: Variant, operation: str) -> install.Choice:
    return worlds.choice(variant, 2 if operation == "upgrade" else 1)


def _call(machine: Machine, variant: Variant, operation: str, tell: Steps, kept: list[str]) -> None:
    if operation in {"uninstall", "purge"}:
        places = variant.places
        kept += uninstall.uninstall(machine, places, purge=operation == "purge", tell=tell).kept
        return
    choice = _choice(variant, operation)
    machine.thinks = operation != "rollback"
    machine.starts = machine.thinks or choice.model is not None
    result = install.install(machine, choice, tell)
    kept += result.outcome.kept
