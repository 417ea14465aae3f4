"""Runs of the program that are watched line by line, and ended in the middle."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from machine import Done, Machine

_numbers = itertools.count(1)
_END_SECONDS = 30.0


@dataclass(frozen=True)
class Point:
    """A place in a run: the ``nth`` report of ``event`` within the action ``step``.

    ``step`` is the id of an action, or its start up to the colon. ``within`` further narrows
    progress to steps of the action that begin with it.
    """

    step: str
    event: str
    nth: int = 1
    within: str = ""

    def __str__(self) -> str:
        what = f" {self.within!r}" if self.within else ""
        return f"{self.step}: {self.event}{what} {self.nth}"


class Run:
    """``command`` with ``--json`` as a service of the machine, until its end or until it is killed.

    What it started is not ended with it, as nothing would on a real machine.
    """

    def __init__(
        self, machine: Machine, *command: str, environ: Mapping[str, str], folder: str
    ) -> None:
        self._machine = machine
        self._unit = f"e2e-run-{next(_numbers)}.service"
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the run
        options = [f"--unit={self._unit}", "--property=KillMode=process"]
        words = machine.service_command(
            [*command, "--json"], options, {"HOME": "/root", **environ}, folder
        )
        self._process = subprocess.Popen(
            machine.entering(*words),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._err,
        )  # fmt: skip
        #: What it reported so far.
        self.events: list[dict[str, object]] = []

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Give each report as it comes."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event: dict[str, object] = json.loads(line)
            self.events.append(event)
            yield event

    def reaches(self, point: Point) -> bool:
        """Read until the run is there; return whether it came there."""
        current, seen = "", 0
        for event in self:
            step = str(event.get("step"))
            if event["event"] == "started":
                current = step
            action = step if event["event"] in {"started", "finished"} else current
            if event["event"] != point.event or not _is(action, point.step):
                continue
            seen += point.within == "" or step.startswith(point.within)
            if seen == point.nth:
                return True
        return False

    def kill(self) -> None:
        """End the program with SIGKILL, from outside of its machine: at once."""
        number = self._main_process()
        assert number is not None, f"{self._unit} does not run any more: {self.end()}"
        os.kill(number, signal.SIGKILL)
        self.end()

    def _main_process(self) -> int | None:
        """Return the program's number here: the child of the machine's PID 1 in its unit."""
        leader = self._machine.leader()
        for number in Path(f"/proc/{leader}/task/{leader}/children").read_text().split():
            with suppress(OSError):  # it has ended since
                if Path(f"/proc/{number}/cgroup").read_text().strip().endswith(f"/{self._unit}"):
                    return int(number)
        return None

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and standard error."""
        with suppress(ValueError):  # the last line of a program that was killed may be half of one
            for _ in self:
                pass
        code = self._process.wait(_END_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._err.seek(0)
        said = self._err.read().decode(errors="replace")
        self._err.close()
        return code, said

    def started(self) -> list[str]:
        """Return the ids of the actions that were started so far."""
        return [str(found["step"]) for found in self.events if found["event"] == "started"]

    def finished(self, outcome: str = "done") -> list[str]:
        """Return the ids of the actions that came to this outcome so far."""
        ends = [found for found in self.events if found["event"] == "finished"]
        return [str(found["step"]) for found in ends if found["outcome"] == outcome]


def _is(action: str, step: str) -> bool:
    return action == step or action.partition(":")[0] == step


#: Runs there; the pattern does not match the command line that it stands in itself.
_LIST = r"""
import os, re
for number in filter(str.isdecimal, os.listdir("/proc")):
    try:
        with open(f"/proc/{number}/cmdline") as stream:
            line = stream.read().replace("\0", " ")
    except OSError:
        continue
    if re.search("local[-_]opus", line):
        print(number, line)
"""


def wait_gone(machine: Machine, seconds: float = 15) -> None:
    """Wait until no process of the program is left, of whatever was killed."""
    deadline = time.monotonic() + seconds
    while (left := machine.run("python3", "-I", "-c", _LIST)).out:
        assert time.monotonic() < deadline, f"still running: {left.out}"
        time.sleep(0.2)


def wait_for_systemd(run: Callable[..., Done]) -> None:
    """Wait until a user's own systemd, which a login or lingering starts, is up.

    ``run`` runs a command as that user.
    """
    deadline = time.monotonic() + 30
    while (done := run("systemctl", "--user", "is-system-running", "--wait")).code != 0:
        assert time.monotonic() < deadline, done
        time.sleep(0.2)
