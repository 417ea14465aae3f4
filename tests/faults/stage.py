"""A machine of files: real files below a root; its programs, its systemd, its server are played.

All that it knows lies on its file system, or in the folder ``beside`` for what a test asks after
(how often something was fetched), so that it goes on after the process that changed it was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from points import Child, ChildFailedError, Kind, Points

from builders import IR_BIN, MEMBER, gguf_bytes, ir_xml, wheel_bytes
from fakes import FakeHost, FakeProcesses, FakeServices
from local_opus import node
from local_opus.errors import LocalOpusError, WorkerError
from local_opus.host import Completed, Space
from local_opus.host.files import Files
from local_opus.locations import Locations, locate
from local_opus.values import Scope
from local_opus.weights.convert import STEMS

#: Where the played systemd and the played processes keep what they know, below the root.
MANAGER = "run/manager"
PROC = "proc"
#: A group's number; one that this user may give files to.
GROUP_ID = 998 if os.geteuid() == 0 else os.getegid()
PYTHON = "/usr/bin/python3.11"
SOUND = gguf_bytes()
WHEEL = wheel_bytes({MEMBER: SOUND})
ENABLED = {
    Scope.SYSTEM: "/etc/systemd/system/multi-user.target.wants",
    Scope.USER: "/home/user/.config/systemd/user/default.target.wants",
}


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
        pid = machine.new_process(command, serves=None)
        try:
            record(pid)
            machine.child("server", [lambda: machine.let_go(pid)])
        except ChildFailedError:
            machine.end_process(pid)  # it ends at once, as one does that can't read its config
        except BaseException:
            machine.end_process(pid)  # its gate was closed: it never began
            raise
        return pid

    def signal(self, pid: int, number: int) -> bool:  # type: ignore[override]
        """End a process."""
        return self._machine.signal(pid)


#: Programs that a full disk refuses: they write something anew.
_FILLS = {
    *("groupadd", "groupdel", "venv", "pip install", "pip download", "convert worker"),
    *("systemctl enable", "systemctl start", "systemctl restart"),
}

#: Where something is, at the time when it is asked for: a machine may be moved meanwhile.
Where = Callable[[], Path]


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


class PlayedServices(FakeServices):
    """A systemd whose units are the files below the root."""

    def __init__(self, machine: Machine, *, runs: bool) -> None:
        super().__init__(runs=runs)
        self._machine = machine

    def do(self, scope: Scope, *words: str) -> None:
        """Do a verb."""
        machine, verb, unit = self._machine, words[0], words[-1]
        steps: dict[str, Callable[[], object]] = {
            "daemon-reload": machine.reload,
            "enable": lambda: machine.enable(scope, unit),
            "disable": lambda: machine.disable(scope, unit),
            "stop": lambda: machine.stop_unit(unit),
            "clean": lambda: machine.clean(unit),
            "reset-failed": lambda: None,
        }
        self._call(f"systemctl {verb}", steps[verb])

    def start(self, scope: Scope, unit: str, waiting: object, verb: str = "start") -> None:
        """Start the unit, which works when its config can be read."""
        self._call(f"systemctl {verb}", lambda: self._machine.start_unit(unit, verb))

    def _call(self, name: str, do: Callable[[], object]) -> None:
        try:
            self._machine.child(name, [do])
        except ChildFailedError as error:
            if error.args[0] is Kind.LATE:
                raise WorkerError(f"{name} ran over its time limit", "Run it again.") from error
            raise LocalOpusError(f"{name}: failed", "Look at `journalctl`.") from error

    def properties(self, scope: Scope, unit: str, *names: str) -> dict[str, str]:
        """Look at the unit."""
        found = self._machine.unit_properties(scope, unit)
        return {name: found.get(name, "") for name in names}

    def property(self, scope: Scope, unit: str, name: str) -> str:
        """Look at one property."""
        return self.properties(scope, unit, name)[name]


class PlayedNetwork:
    """Ports of this machine: what is served there is what the played server has loaded."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @staticmethod
    def port_problem(_address: str, _port: int) -> None:
        """Every port is free."""
        return

    def request_json(self, _address: str, port: int, path: str, **_: object) -> tuple[int, Mapping[str, object]]:  # fmt: skip
        """Answer as the server would."""
        if not any(f'"port":{port},' in server for server in self._machine.servers()):
            raise LocalOpusError("no answer (connection refused)", "Start it.")
        if path == "/v1/models":
            return 200, {"data": [{"id": "tiny"}]}
        return 200, {"status": "ready", "model": "tiny"}

    @staticmethod
    def stream_events(*_: object, **__: object) -> Iterator[Mapping[str, object]]:
        """Answer a question."""
        for word in ("a", "b"):
            yield {"choices": [{"delta": {"content": word}}]}
        yield {"usage": {"completion_tokens": 2}}


class RoomyFiles(Files):
    """Files on a disk with room: what is tested here are refusals, not forecasts."""

    def space(self, path: str) -> Space:
        """Return more than anything needs."""
        return Space(10**12, 10**12, None)


class Machine(FakeHost):
    """The machine below ``root``, which takes itself for a whole one (or, ``image``, does not)."""

    def __init__(
        self, root: Path, beside: Path, points: Points, *, scope: Scope, systemd: bool, image: bool
    ) -> None:
        super().__init__(root)
        self._image = image
        self._beside = beside
        self._roots: list[str] = []
        self._points = points
        self.files = RoomyFiles(str(root))
        self._roots.append(self.files.root)
        self.accounts = type(self.accounts)(self.files)
        self.processes = PlayedProcesses(self.environ, self)
        self.services = PlayedServices(self, runs=systemd)  # type: ignore[assignment]
        self.network = PlayedNetwork(self)  # type: ignore[assignment]
        self.euid = 0 if scope is Scope.SYSTEM else 1000
        self.places: Locations = locate(scope, self.environ)
        #: Whether the installed program starts, and whether models pass the canary.
        self.starts = self.thinks = True

    @property
    def is_image(self) -> bool:  # type: ignore[override]
        """Whether it is an image's folder."""
        return self._image

    def move(self, folder: Path) -> None:
        """Go on in a copy of this machine."""
        self._beside = folder / "beside"
        self.files.root = str(folder / "root")
        self._roots.append(self.files.root)

    def at(self, path: str) -> Where:
        """Return where a path seen from outside is, also after a move."""
        inside = next(path.removeprefix(root) for root in self._roots if f"{path}/".startswith(f"{root}/"))  # fmt: skip
        return lambda: Path(self.files.root + inside)

    @property
    def folder(self) -> Path:
        """Return where this machine is now."""
        return self._beside.parent

    def below(self, path: str) -> Path:
        """Return a path of the machine as it is seen from outside."""
        return Path(self.files.root + path)

    def child(self, name: str, steps: Sequence[Callable[[], object]]) -> object:
        """Let a child do its steps; half of them where it is ended half-way."""

        def do(some: Sequence[Callable[[], object]]) -> object:
            last: object = None
            for step in some:
                last = step()
            return last

        return self._points.call(
            name,
            str,
            lambda: do(steps),
            lambda: do(steps[: (len(steps) + 1) // 2]),
            child=Child.FILLS if name in _FILLS else Child.FREES,
        )

    def signal(self, pid: int) -> bool:
        """End a process by a signal, which this user may not be allowed to send."""
        return bool(self._points.call("kill", str, lambda: self.end_process(pid)))

    # -- what is counted ------------------------------------------------------------------------

    def count(self, what: str) -> None:
        """Count something."""
        with (self._beside / what).open("a") as stream:
            stream.write("1")

    def counted(self, what: str) -> int:
        """Return how often."""
        path = self._beside / what
        return path.stat().st_size if path.exists() else 0

    # -- groups ---------------------------------------------------------------------------------

    def set_group(self, name: str, *, there: bool) -> None:
        """Write /etc/group anew."""
        path = self.below("/etc/group")
        lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{name}:")]
        lines += [f"{name}:x:{GROUP_ID}:"] * there
        new = path.with_name("group+")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.chmod(path.stat().st_mode & 0o777)
        new.rename(path)

    # -- processes ------------------------------------------------------------------------------

    def new_process(self, command: Sequence[str], serves: str | None) -> int:
        """Make a process; ``serves``: what it has loaded, None while it waits."""
        folder = self.below(f"/{PROC}")
        pid = self.counted("processes") + 100
        self.count("processes")
        (folder / str(pid)).mkdir()
        before = " ".join(["0"] * 18)
        (folder / str(pid) / "stat").write_text(f"{pid} (server) S {before} {pid * 7} 0\n")
        status = f"Gid:\t{GROUP_ID}\t{GROUP_ID}\t{GROUP_ID}\t{GROUP_ID}\nGroups:\t{GROUP_ID}\n"
        (folder / str(pid) / "status").write_text(status)
        (folder / str(pid) / "cmdline").write_text("\0".join(command) + "\0")
        if serves is not None:
            (folder / str(pid) / "serves").write_text(serves)
        return pid

    def let_go(self, pid: int) -> None:
        """Let a process begin: it reads its config."""
        folder = self.below(f"/{PROC}/{pid}")
        command = (folder / "cmdline").read_text().replace("\0", " ")
        (folder / "serves").write_text(self._load(command))

    def _load(self, command: str) -> str:
        """Return what a server reads when it starts; LocalOpusError where that is not whole."""
        config = command.partition("--config ")[2].strip(' "')
        return node.read_settings(self, config).model_dump_json()

    def end_process(self, pid: int) -> bool:
        """End a process; return whether it was there."""
        folder = self.below(f"/{PROC}/{pid}")
        if not folder.exists():
            return False
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        return True

    def end_waiting(self) -> None:
        """End processes whose parent was killed before it let them go, as their gate does."""
        for folder in self.below(f"/{PROC}").glob("[0-9]*"):
            if not (folder / "serves").exists():
                self.end_process(int(folder.name))

    def servers(self) -> list[str]:
        """Return what runs, one line a server: its command and what it loaded."""
        return [
            f"{(folder / 'cmdline').read_text()} {(folder / 'serves').read_text()}"
            for folder in sorted(self.below(f"/{PROC}").glob("[0-9]*"))
            if (folder / "serves").exists()
        ]

    # -- units ----------------------------------------------------------------------------------

    def _manager(self) -> dict[str, dict[str, str]]:
        """Return what systemd knows: the texts of the units that it has read, and their PIDs."""
        path = self.below(f"/{MANAGER}")
        found: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
        return {"loaded": {}, "pid": {}, **found}

    def _remember(self, what: str, unit: str, value: str | None) -> None:
        known = self._manager()
        known[what].pop(unit, None)
        if value:
            known[what][unit] = value
        self.below(f"/{MANAGER}").write_text(json.dumps(known))

    def loaded_units(self) -> dict[str, str]:
        """Return the texts of units as they were when systemd last read them."""
        return self._manager()["loaded"]

    def unit_text(self, unit: str) -> str:
        """Return the text of a unit's file; "": there is none."""
        path = self.below(f"{self.places.units}/{unit}")
        return path.read_text() if path.is_file() else ""

    def reload(self) -> None:
        """Read the units anew."""
        for unit in (self.places.unit, self.places.trial.unit):
            self._remember("loaded", unit, self.unit_text(unit))

    def enable(self, scope: Scope, unit: str) -> None:
        """Make the link that starts the unit at boot."""
        if not self.unit_text(unit):
            raise LocalOpusError(f"systemctl enable: {unit} does not exist", "Install it.")
        link = self.below(f"{ENABLED[scope]}/{unit}")
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(f"{self.places.units}/{unit}")

    def disable(self, scope: Scope, unit: str) -> None:
        """Remove the link, and its folder where it is empty, as systemd does."""
        link = self.below(f"{ENABLED[scope]}/{unit}")
        link.unlink(missing_ok=True)
        if link.parent.is_dir() and not any(link.parent.iterdir()):
            link.parent.rmdir()

    def start_unit(self, unit: str, verb: str) -> None:
        """Start what is loaded."""
        if verb == "start" and unit in self._manager()["pid"]:
            return
        self.stop_unit(unit)
        loaded = self.loaded_units().get(unit) or self.unit_text(unit)
        if not loaded:
            raise LocalOpusError(f"systemctl start: {unit} not found", "Install it.")
        start = next(line for line in loaded.splitlines() if line.startswith("ExecStart="))
        for folder in self._state_folders(unit):
            self.below(folder).mkdir(exist_ok=True)
        pid = self.new_process([start], serves=self._load(start))
        self._remember("pid", unit, str(pid))
        self._remember("loaded", unit, loaded)

    def _state_folders(self, unit: str) -> list[str]:
        """Return the state and cache folder of a unit of the system."""
        name = unit.removesuffix(".service")
        system = self.places.scope is Scope.SYSTEM
        return [f"/var/lib/{name}", f"/var/cache/{name}"] if system else []

    def stop_unit(self, unit: str) -> None:
        """End the unit's process."""
        pid = self._manager()["pid"].get(unit)
        if pid:
            self.end_process(int(pid))
        self._remember("pid", unit, None)

    def clean(self, unit: str) -> None:
        """Remove the unit's state and cache."""
        if unit in self._manager()["pid"]:
            raise LocalOpusError("systemctl clean: the unit is active", "Stop it.")
        for folder in self._state_folders(unit):
            if self.below(folder).is_dir():
                self.below(folder).rmdir()

    def unit_properties(self, scope: Scope, unit: str) -> dict[str, str]:
        """Return what `systemctl show` says."""
        pid = self._manager()["pid"].get(unit)
        there = bool(self.loaded_units().get(unit) or self.unit_text(unit))
        enabled = self.below(f"{ENABLED[scope]}/{unit}").is_symlink()
        return {
            "LoadState": "loaded" if there else "not-found",
            "ActiveState": "active" if pid else "inactive",
            "UnitFileState": "enabled" if enabled else "disabled" if there else "",
            "MainPID": pid or "0",
        }
