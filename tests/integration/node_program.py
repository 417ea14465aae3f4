"""The program as users run it: a child process with a home of its own, and what it leaves there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_opus.report.events import read as read_event

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PARTS = ("src", "profiles", "templates", "systemd", "pyproject.toml")
MODEL = "smollm2-135m"
GGUF = f"models/{MODEL}/gguf-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf"
Tree = dict[str, tuple[str, int, str]]
Wanted = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Ended:
    """A run with --json: its exit code (negative: the signal), its lines, its errors."""

    code: int
    lines: list[Mapping[str, Any]]
    err: str

    def steps(self, event: str) -> list[str]:
        """Return the steps of the lines of one kind, each once."""
        return list(dict.fromkeys(line["step"] for line in self.lines if line["event"] == event))


def copy_checkout(target: Path) -> Path:
    """Copy what runs: an install must not need the checkout, nor see it change."""
    target.mkdir(parents=True)
    for part in PARTS:
        origin = CHECKOUT / part
        if origin.is_dir():
            shutil.copytree(origin, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(origin, target)
    for lock in CHECKOUT.glob("requirements*.lock"):
        shutil.copy2(lock, target)
    return target


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def tree(folder: Path) -> Tree:
    """Return kind, mode and content of everything below a folder."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = ""
        if stat.S_ISLNK(mode):
            content = os.readlink(path)
        elif stat.S_ISREG(mode):
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        name = str(path.relative_to(folder))
        found[name] = (stat.filemode(mode)[0], stat.S_IMODE(mode), content)
    return found


class Program:
    """The program of a checkout, for one home folder and one port."""

    def __init__(self, checkout: Path, home: Path, pip_cache: str) -> None:
        self.checkout = checkout
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.environ = {
            name: value for name, value in os.environ.items() if name.startswith("PIP_")
        }
        self.environ |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "PIP_CACHE_DIR": pip_cache,
                         "PYTHONPATH": str(checkout / "src"), "COLUMNS": "200", "TERM": "dumb",
                         "NO_COLOR": "1", "LOCAL_OPUS_SCOPE": "user",
                         # Tests of tuning say --tune; the others need not wait for it.
                         "LOCAL_OPUS_TUNE": "0"}  # fmt: skip
        #: Words in front of the program, e.g. to enter a mount namespace.
        self.enter: tuple[str, ...] = ()
        self.prefix = home / ".local/share/local-opus"
        self.state = home / ".local/state/local-opus"
        self.config = home / ".config/local-opus"

    def start(self, *words: str, **extra: str) -> subprocess.Popen[str]:
        """Start it, in a process group of its own."""
        return subprocess.Popen(
            [*self.enter, sys.executable, "-s", "-P", "-m", "local_opus.cli", *words],
            env={**self.environ, **extra},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, *words: str, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end and check its exit code."""
        with self.start(*words, **extra) as child:
            out, err = child.communicate(timeout=240)
        assert child.returncode == code, f"{words}: {child.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def install_words(self, *more: str) -> tuple[str, ...]:
        """Return the words of the first command of the README, on this test's port."""
        return ("--local-opus", "--model", MODEL, "--port", str(self.port), "--yes", *more)

    def install(self, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Install the model and the server."""
        return self.run(*self.install_words(*more), code=code)

    def run_until(
        self, wanted: Wanted, do: Callable[[subprocess.Popen[str]], object], *words: str
    ) -> Ended:
        """Run with --json; at the first wanted line ``do``, then go on to the end.

        Fails when no line was wanted.
        """
        seen: list[Mapping[str, Any]] = []
        with self.start(*words, "--json") as child:
            assert child.stderr is not None
            for event in events(child):
                seen.append(event)
                if wanted(event):
                    do(child)
                    break
            else:
                raise AssertionError(f"{seen[-3:]}\n{child.stderr.read()}")
            seen += events(child)
            return Ended(child.wait(60), seen, child.stderr.read())

    def kill_at(self, wanted: Wanted, *words: str) -> Ended:
        """Run with --json and kill -9 the leader alone at the first wanted line."""
        ended = self.run_until(wanted, lambda child: child.send_signal(signal.SIGKILL), *words)
        assert ended.code == -signal.SIGKILL
        return ended

    def processes(self) -> dict[int, str]:
        """Return the processes that this home's program left, with their commands."""
        mark = f"HOME={self.home}\0".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes() + b"\0":
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = words.decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended, or is another user's
        return {pid: words for pid, words in found.items() if words}

    def wait_for_processes(self, wanted: Callable[[dict[int, str]], bool]) -> dict[int, str]:
        """Wait up to ten seconds until the processes are as wanted; return them."""
        deadline = time.monotonic() + 10
        while not wanted(found := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def end_all(self) -> None:
        """End whatever still runs, so that no test leaves a process."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class FirstInstall:
    """The first command in an empty home: what it said and how long it took."""

    program: Program
    before: Tree
    said: str
    seconds: float


def events(child: subprocess.Popen[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of --json; every one must hold to docs/events.schema.json."""
    assert child.stdout is not None
    for line in child.stdout:
        yield checked(line)


def checked(line: str) -> Mapping[str, Any]:
    """Return a line of --json. Raises ValueError where the schema does not describe it."""
    read_event(line)
    found: Mapping[str, Any] = json.loads(line)
    return found


def error_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what an error says: what, any details, and the remedy last."""
    lines = without_progress(done.stderr).splitlines()
    assert lines[0].startswith("error: "), done.stderr
    assert lines[-1].startswith("  fix: "), done.stderr
    return lines


def in_step(name: str) -> Wanted:
    """Whether a line tells of progress in a step whose name begins so."""
    return lambda line: line["event"] == "progress" and line["step"].startswith(name)


def assert_stopped(program: Program, ended: Ended, *, running: int = 0) -> None:
    """It stopped with its words and code, and its children with it."""
    assert ended.code == 130, ended.err
    lines = ended.err.splitlines()
    assert [line[:9] for line in lines] == ["stopped: ", "   next: "], ended.err
    assert "interrupted; what was " in lines[0]
    found = program.wait_for_processes(lambda processes: len(processes) == running)
    assert len(found) == running, found


def without_progress(said: str) -> str:
    """Return what was said but for lines of progress: a busy machine has some to tell."""
    lines = said.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith('{"event": "progress"'))
