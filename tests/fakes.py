"""A host of the tests: the real files below a temporary root, scripted processes and services."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from local_opus.host import Completed, Host
from local_opus.host.processes import Processes
from local_opus.locations import TARGET_UNIT, TRIAL_UNIT, UNIT
from local_opus.values import Scope

_USUAL = {UNIT, TRIAL_UNIT, TARGET_UNIT}
Answer = Completed | Callable[[Sequence[str]], Completed]


class FakeProcesses(Processes):
    """Answers commands by their program's name; every call is recorded."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.calls: list[list[str]] = []
        self.answers: dict[str, Answer] = {}
        self.workers: dict[str, dict[str, object] | Exception] = {}

    def run(self, command, **settings):  # type: ignore[no-untyped-def,override]
        self.calls.append(list(command))
        answer = self.answers.get(Path(command[0]).name, Completed(0, "", ""))
        return answer(command) if callable(answer) else answer

    def worker(self, module, request, **settings):  # type: ignore[no-untyped-def,override]
        self.calls.append([module])
        answer = self.workers[module]
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeServices:
    """A systemd that only remembers."""

    def __init__(self, *, runs: bool = False) -> None:
        self.runs = runs
        self.verbs: list[tuple[str, ...]] = []
        #: The properties of the server's unit, the trial's and the target.
        self.values: dict[str, str] = {}
        #: Those of others, by their names; what is not named is not there.
        self.units: dict[str, dict[str, str]] = {}

    def running(self, scope: Scope) -> bool:
        return self.runs

    def do(self, scope: Scope, *words: str) -> None:
        self.verbs.append(words)

    def forget_failure(self, scope: Scope, *units: str) -> None:
        self.verbs += [("reset-failed", unit) for unit in units]

    def last_words(self, scope: Scope, unit: str, invocation: str) -> tuple[str, str]:
        return "", ""

    def start(self, scope: Scope, unit: str, waiting, verb: str = "start") -> None:  # type: ignore[no-untyped-def]
        self.verbs.append((verb, unit))

    def properties(self, scope: Scope, unit: str, *names: str) -> dict[str, str]:
        usual = self.values if unit in _USUAL else {"LoadState": "not-found"}
        found = self.units.get(unit, usual)
        return {name: found.get(name, "") for name in names}

    def properties_of(
        self, scope: Scope, units: Iterable[str], *names: str
    ) -> dict[str, dict[str, str]]:
        return {unit: self.properties(scope, unit, *names) for unit in units}

    def property(self, scope: Scope, unit: str, name: str) -> str:
        return self.properties(scope, unit, name)[name]


class FakeHost(Host):
    """``root`` is a temporary folder; the environment holds what is given and nothing else."""

    processes: FakeProcesses
    services: FakeServices
    #: A machine in a folder; tests of images say so.
    is_image = False  # type: ignore[assignment]

    def __init__(self, root: Path, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(str(root), environ or {"HOME": "/home/user", "PATH": "/usr/bin"})
        self.processes = FakeProcesses(self.environ)
        self.services = FakeServices()  # type: ignore[assignment]
