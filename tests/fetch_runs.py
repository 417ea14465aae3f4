"""Runs fetches in processes that can be killed, and adds up what came again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fetch_child import Counts
from local_opus.host import Host, partials
from local_opus.values import Model
from local_opus.weights.sources import web
from local_opus.weights.sources.arrival import partial_name
from local_opus.weights.store import partial_folder

TESTS = Path(__file__).resolve().parent


class Zygote:
    """Starts runs, one at a time."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
        self._process = subprocess.Popen(
            [sys.executable, "-s", str(TESTS / "fetch_child.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "NO_PROXY": "*"},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def start(self, asked: Mapping[str, Any]) -> int:
        """Start a run; return its process, which leads a group of its own."""
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["pid"])

    def end(self) -> dict[str, Any]:
        """Wait for the run's end; return its result, and ``status`` as ``subprocess`` has it."""
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the runs' parent ended with {self._process.wait(20)}")
        return json.loads(line)


@dataclass
class Cost:
    """What one run read and has not now: in all, and of the worst file, in bytes.

    ``allowed``: what a kill may cost a file at most. ``whole``: files that were whole before, and of
    which something was read.
    """

    allowed: int
    worst: int = 0
    total: int = 0
    whole: int = 0


class Ledger:
    """Adds up, run by run, what of a model's files came and what of that was kept."""

    def __init__(
        self,
        zygote: Zygote,
        host: Host,
        models: str,
        folder: str,
        model: Model,
        name: str = "counts",
    ) -> None:
        self._zygote = zygote
        self._host = host
        self._folder = folder
        self._model = model
        self._counts_path = Path(f"{host.root.rstrip('/')}/{models}").parent / name
        self._counts_path.parent.mkdir(parents=True, exist_ok=True)
        self.counts = Counts(self._counts_path, len(model.files))
        self._asked = {
            "root": host.root, "environ": dict(host.environ), "models": models,
            "model": model.model_dump(mode="json"), "counts": str(self._counts_path),
        }  # fmt: skip

    def have(self) -> list[int]:
        """Return the bytes of each file that need not come again."""
        files, found = self._host.files, []
        for file in self._model.files:
            if files.stat(f"{self._folder}/{file.path}") is not None:
                found.append(file.size)
            else:
                path = f"{partial_folder(self._folder)}/{partial_name(file)}"
                found.append(partials.have(files, path))
        return found

    def start(self, **asked: Any) -> int:
        """Start a run; return its process."""
        self._before = self.have()
        self.counts.reset()
        return self._zygote.start({**self._asked, **asked})

    def end(self) -> tuple[dict[str, Any], Cost]:
        """Wait for the end; return the result and what the run read that is not there now."""
        result = self._zygote.end()
        missing = sum(
            have < file.size for have, file in zip(self._before, self._model.files, strict=True)
        )
        connections = web.CONNECTIONS // max(1, min(web.FILES, missing))
        # Of each connection: a piece that is partly there, and the bytes that it has just read.
        cost = Cost(connections * 2 * partials.PIECE)
        for file, before, after, came in zip(
            self._model.files, self._before, self.have(), self.counts.all(), strict=True
        ):
            lost = came - (after - before)
            cost.worst = max(cost.worst, lost)
            cost.total += lost
            if before == file.size and came:
                cost.whole += 1
        return result, cost

    def kill(self, process: int, received: int, delay: float) -> None:
        """Kill the group of a run some time after it has read so many bytes, if it lives then."""
        while sum(self.counts.all()) < received and _lives(process):
            time.sleep(0.0005)
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


def _lives(process: int) -> bool:
    """Whether it runs: one that has ended is a zombie for a moment."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
