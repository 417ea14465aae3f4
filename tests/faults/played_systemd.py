"""The systemd of the played machine: its units are files, what it knows of them is one, too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from played_servers import load
from points import ChildFailedError, Kind

from fakes import FakeServices
from local_opus.errors import LocalOpusError, WorkerError
from local_opus.locations import TARGET_UNIT
from local_opus.values import Scope

if TYPE_CHECKING:
    from played_machine import Machine

#: In the place of the PID of what is no server, e.g. a target.
ACTIVE = 0
#: Where it keeps what it knows, below the root.
MANAGER = "run/manager"
#: Where it makes StateDirectory= and CacheDirectory= (systemd.exec(5)).
STATES = {
    Scope.SYSTEM: ("/var/lib", "/var/cache"),
    Scope.USER: ("/home/user/.config", "/home/user/.cache"),
}
#: What a unit is wanted by; those that are not named, by the node's own target.
WANTED = {
    (Scope.SYSTEM, TARGET_UNIT): "multi-user.target",
    (Scope.USER, TARGET_UNIT): "default.target",
}


class PlayedServices(FakeServices):
    """A systemd whose units are the files below the root."""

    def __init__(self, machine: Machine, *, runs: bool) -> None:
        super().__init__(runs=runs)
        self._machine = machine

    def do(self, scope: Scope, *words: str) -> None:
        """Do a verb."""
        units, verb, unit = self._machine.units, words[0], words[-1]
        steps: dict[str, Callable[[], object]] = {
            "daemon-reload": units.reload,
            "enable": lambda: [units.enable(scope, one) for one in words[1:]],
            "disable": lambda: [units.disable(scope, one) for one in words[1:]],
            "stop": lambda: [units.stop(one) for one in words[1:]],
            "clean": lambda: units.clean(scope, unit),
            "reset-failed": lambda: None,
        }
        self._call(f"systemctl {verb}", steps[verb])

    def start(self, scope: Scope, unit: str, waiting: object, verb: str = "start") -> None:
        """Start the unit, which works when its config can be read."""
        self._call(f"systemctl {verb}", lambda: self._machine.units.start(scope, unit, verb))

    def _call(self, name: str, do: Callable[[], object]) -> None:
        try:
            self._machine.child(name, [do])
        except ChildFailedError as error:
            if error.args[0] is Kind.LATE:
                raise WorkerError(f"{name} ran over its time limit", "Run it again.") from error
            raise LocalOpusError(f"{name}: failed", "Look at `journalctl`.") from error

    def properties(self, scope: Scope, unit: str, *names: str) -> dict[str, str]:
        """Look at the unit."""
        found = self._machine.units.properties(scope, unit)
        return {name: found.get(name, "") for name in names}

    def property(self, scope: Scope, unit: str, name: str) -> str:
        """Look at one property."""
        return self.properties(scope, unit, name)[name]


class Units:
    """What systemd knows of the units, and what its verbs do to them and to the files."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def _manager(self) -> dict[str, dict[str, str]]:
        """Return what systemd knows: the texts of the units that it has read, and their PIDs."""
        path = self._machine.below(f"/{MANAGER}")
        found: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
        return {"loaded": {}, "pid": {}, **found}

    def _remember(self, what: str, unit: str, value: str | None) -> None:
        known = self._manager()
        known[what].pop(unit, None)
        if value:
            known[what][unit] = value
        self._machine.below(f"/{MANAGER}").write_text(json.dumps(known))

    def loaded(self) -> dict[str, str]:
        """Return the texts of units as they were when systemd last read them."""
        return self._manager()["loaded"]

    def text(self, unit: str) -> str:
        """Return the text of a unit's file; "": there is none."""
        path = self._machine.below(f"{self._machine.places.units}/{unit}")
        return path.read_text() if path.is_file() else ""

    def reload(self) -> None:
        """Read the units anew."""
        known = {path.name for path in self._folder().glob("local-opus*.*") if path.is_file()}
        for unit in known | set(self.loaded()):
            self._remember("loaded", unit, self.text(unit))

    def _folder(self) -> Path:
        return self._machine.below(self._machine.places.units)

    def _link(self, scope: Scope, unit: str) -> Path:
        wants = WANTED.get((scope, unit), TARGET_UNIT)
        return self._folder() / f"{wants}.wants" / unit

    def enable(self, scope: Scope, unit: str) -> None:
        """Make the link that starts the unit at boot."""
        if not self.text(unit):
            raise LocalOpusError(f"systemctl enable: {unit} does not exist", "Install it.")
        link = self._link(scope, unit)
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(f"{self._machine.places.units}/{unit}")

    def disable(self, scope: Scope, unit: str) -> None:
        """Remove the link, and its folder where it is empty, as systemd does."""
        link = self._link(scope, unit)
        link.unlink(missing_ok=True)
        if link.parent.is_dir() and not any(link.parent.iterdir()):
            link.parent.rmdir()

    def start(self, scope: Scope, unit: str, verb: str) -> None:
        """Start what is loaded."""
        if verb == "start" and unit in self._manager()["pid"]:
            return
        self.stop(unit)
        loaded = self.loaded().get(unit) or self.text(unit)
        if not loaded:
            raise LocalOpusError(f"systemctl start: {unit} not found", "Install it.")
        pid = self._begin(scope, unit, loaded) if " local_opus.serve " in loaded else ACTIVE
        self._remember("pid", unit, str(pid))
        self._remember("loaded", unit, loaded)

    def _begin(self, scope: Scope, unit: str, loaded: str) -> int:
        start = next(line for line in loaded.splitlines() if line.startswith("ExecStart="))
        for folder in self._state_folders(scope, unit):
            self._machine.below(folder).mkdir(parents=True, exist_ok=True)
        return self._machine.table.begin([start], serves=load(self._machine, start))

    def state_name(self, unit: str) -> str:
        """Return the name of the unit's StateDirectory=, which is its CacheDirectory=, too."""
        text = self.loaded().get(unit) or self.text(unit)
        found = re.search(r"^StateDirectory=(\S+)$", text, re.MULTILINE)
        return found[1] if found else ""

    def _state_folders(self, scope: Scope, unit: str) -> list[str]:
        """Return the state and the cache folder of a unit, as systemd 252 makes them."""
        name = self.state_name(unit)
        return [f"{base}/{name}" for base in STATES[scope]] if name else []

    def stop(self, unit: str) -> None:
        """End the unit's process."""
        pid = self._manager()["pid"].get(unit)
        if pid and pid != str(ACTIVE):
            self._machine.table.end(int(pid))
        self._remember("pid", unit, None)

    def clean(self, scope: Scope, unit: str) -> None:
        """Remove the unit's state and cache."""
        if unit in self._manager()["pid"]:
            raise LocalOpusError("systemctl clean: the unit is active", "Stop it.")
        for folder in self._state_folders(scope, unit):
            if self._machine.below(folder).is_dir():
                self._machine.below(folder).rmdir()

    def properties(self, scope: Scope, unit: str) -> dict[str, str]:
        """Return what `systemctl show` says."""
        pid = self._manager()["pid"].get(unit)
        there = bool(self.loaded().get(unit) or self.text(unit))
        enabled = self._link(scope, unit).is_symlink()
        return {
            "LoadState": "loaded" if there else "not-found",
            "ActiveState": "active" if pid else "inactive",
            "UnitFileState": "enabled" if enabled else "disabled" if there else "",
            "MainPID": pid or "0",
            "StateDirectory": self.state_name(unit),
        }
