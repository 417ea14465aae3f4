"""Runs one round: commands, kills, and the proof that the machine came to where it should be."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign import plan
from campaign.commands import HUNG, LIMIT, Commands, Ended
from campaign.home import GGUF, PREFIX, STORE, WEIGHTS_STAY, Tree, difference
from campaign.stage import MODEL

#: Seconds that the processes of an ended command may take to be gone.
_GONE = 5.0
#: Steps of a fetch that bring bytes.
_BRINGS = ("download", "unpack")


@dataclass
class Report:
    """What a round found so far."""

    problems: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    fetched_again: int = 0
    orphans: int = 0


class Runner:
    """Runs rounds in one home."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        self.home = commands.home
        self.usual = plan.Usual()
        self.before: Tree = {}
        self.references: dict[str, Tree] = {}
        self._report = Report()

    # -- states ---------------------------------------------------------------------------------

    def begin_anew(self) -> None:
        """Make the home anew: nothing is installed."""
        self.before = self.home.make()
        self._report = Report()

    def measure(self) -> None:
        """Go once through everything without a kill: what each state looks like, and the times."""
        self.begin_anew()
        way = (plan.OLD, plan.UNINSTALL, plan.NEW, plan.OLD, f"{plan.UPGRADE} {plan.NEW}",
               f"{plan.UPGRADE} {plan.OLD}", plan.PURGE, plan.OLD)  # fmt: skip
        state = plan.NOTHING
        for command in way:
            ended = self._run(command)
            self._expect_success(command, ended)
            self.usual.add(plan.key(command, state), ended.seconds, ended.records)
            state = plan.version(command) or plan.NOTHING
            if state != plan.NOTHING and state not in self.references:
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
        self.commands.forget()
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
        if (plan.version(step.command) or plan.NOTHING) == state:
            return state  # the kill before it came too late, and nothing is left to do
        places = (state, plan.BETWEEN, plan.NOTHING, plan.OLD)
        keys = [plan.key(step.command, place) for place in places]
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
            return plan.version(step.command) or plan.NOTHING
        if strays := self.home.strays():
            self._report.orphans += len(strays)
            self._report.problems.append(f"outlived the kill: {sorted(strays.values())}")
        made = any(self.home.folder.glob(f"{PREFIX}/env-*/.complete"))
        return f"{plan.BETWEEN}, environment made" if made else plan.BETWEEN

    def _run(self, command: str, step: plan.Step | None = None, at: float = 0.0) -> Ended:
        """Run a command to its end, or kill it ``at`` so many seconds or records."""
        had = self.home.stored()
        ended = self.commands.start(self.commands.words(command), step, at)
        if command != plan.PURGE:
            self._count_fetched_again(had, ended)
        return ended

    # -- proof ----------------------------------------------------------------------------------

    def _expect_success(self, command: str, ended: Ended) -> None:
        if ended.code == HUNG:
            self._report.problems.append(f"{command}: ran over {LIMIT:.0f} s")
        elif ended.code != 0:
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
            weights = any(path.is_file() for path in (self.home.folder / STORE).rglob("*"))
            if command == plan.PURGE and weights:
                self._report.problems.append("purge: weights are still there")
            self._compare(self.before, without=WEIGHTS_STAY if weights else ())
            left = self.home.wait(lambda found: not found, _GONE)
        else:
            self._prove_installed(command)
            left = self.home.strays(_GONE)
        if left:
            self._report.orphans += len(left)
            self._report.problems.append(f"still running: {sorted(left.values())}")

    def _prove_installed(self, command: str) -> None:
        version = plan.version(command)
        status = self.commands.start([self.commands.stage.installer(version), "status", "--json"])
        if status.code != 0:
            self._report.problems.append(f"status: exit {status.code}: {status.errors[-300:]}")
        if problem := self._ask():
            self._report.problems.append(f"a question over HTTP: {problem}")
        again = self._run(command)
        if again.code != 0 or not any(event["event"] == "no_changes" for event in again.events):
            names = [event.get("step", event["event"]) for event in again.events]
            self._report.problems.append(f"{command} again: exit {again.code}, {names[-9:]}")
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
        connection = http.client.HTTPConnection("127.0.0.1", self.commands.port, timeout=30)
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

        def large(top: str, names: list[str]) -> set[str]:
            inside = top.endswith(PREFIX)
            return {name for name in names if inside and name.startswith(("env-", "models"))}

        shutil.copytree(self.home.folder, target / "home", symlinks=True, ignore=large)
        shutil.copytree(self.commands.work, target / "output")
