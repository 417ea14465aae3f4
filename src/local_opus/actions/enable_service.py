"""Enable and start the node's units under systemd."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from local_opus import node, node_settings, node_units
from local_opus.actions import unit_folders, unit_links
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.actions.ownership import lost_group
from local_opus.asking import require_answer
from local_opus.host import Host
from local_opus.locations import (
    FAILED_UNIT,
    FORMER_UNIT,
    MONITOR_TIMER,
    MONITOR_UNIT,
    RECOVER_UNIT,
    SERVER_STATE,
    SOCKET_UNIT,
    TARGET_UNIT,
    TUNE_UNIT,
    UNIT,
    locate,
)
from local_opus.values import Scope, Sha256

#: A receipt could hold an option, or a unit of the system, in its place.
UnitName = Annotated[
    str, StringConstraints(pattern=r"\Alocal-opus(-[a-z]+)*\.(service|socket|target|timer)\z")
]
#: All that any version enabled: what a plan no longer holds is ended before it is begun.
_EVER = (FORMER_UNIT, UNIT, SOCKET_UNIT, TARGET_UNIT, TUNE_UNIT, MONITOR_UNIT, MONITOR_TIMER)
#: Stays up while the server is started anew.
_NOT_ANEW = frozenset({TARGET_UNIT, SOCKET_UNIT})
#: What one of them starts, or what its server may have been before: it ends with it. An older
#: version's server still runs where an upgrade from it was killed.
_WITH = {
    UNIT: (FORMER_UNIT, FAILED_UNIT),
    MONITOR_TIMER: (MONITOR_UNIT, RECOVER_UNIT),
}
_NEVER_ENABLED = frozenset({FAILED_UNIT, MONITOR_UNIT, RECOVER_UNIT})
_SERVERS = frozenset({UNIT, FORMER_UNIT})
#: The state and cache folders that systemd makes for a unit of the system when it first starts.
_STATES = {UNIT: SERVER_STATE, FORMER_UNIT: SERVER_STATE, MONITOR_UNIT: "local-opus-monitor"}


@dataclass(frozen=True)
class _Stood:
    """How a unit stood: its UnitFileState and ActiveState."""

    enabled: str
    active: str


class EnableService(Action):
    """Units, enabled and running; ``inputs_sha256`` changes with all that they read.

    They are started in their order; the target, with which they come up at boot, last of all. Where
    the server is one of them it has to answer.
    """

    kind: ClassVar[str] = "enable_service"
    #: Before all files: where it can't be ended, what it runs from stays.
    reverted_in: ClassVar[int] = -1
    scope: Scope
    inputs_sha256: Sha256
    #: Receipts of versions with one unit do not name it.
    units: tuple[UnitName, ...] = (FORMER_UNIT,)

    @property
    def server(self) -> str | None:
        """The server's unit; None: there is no server among them."""
        return next((unit for unit in self.units if unit in _SERVERS), None)

    def summary(self) -> str:
        """Say what it does."""
        parts = [unit for unit in self.units if unit != TARGET_UNIT]
        return f"enable and start {', '.join(parts)}"

    def paths(self) -> tuple[str, ...]:
        """Systemd makes its own links, in the folder that the scope has for units."""
        return ()

    def inspect(self, host: Host) -> Inspection:
        """All enabled and active, the server in the group that may read its files, is present."""
        if host.is_image:
            missing = [unit for unit in self.units if not self._is_linked(host, unit)]
            if not missing:
                return Inspection(state=State.PRESENT, evidence="enabled")
            state = State.DIFFERENT if len(missing) < len(self.units) else State.ABSENT
            return Inspection(state=state, evidence=f"{missing[0]} is not enabled")
        found = self._stand(host, self.units)
        if any(unit.enabled for unit in found.values()):
            for name, unit in found.items():
                if (unit.enabled, unit.active) != ("enabled", "active"):
                    evidence = f"{name}: {unit.enabled or 'no unit'}, {unit.active}"
                    return Inspection(state=State.DIFFERENT, evidence=evidence)
            if self.server and (lost := lost_group(host, self.scope)) is not None:
                return Inspection(state=State.DIFFERENT, evidence=lost)
            return Inspection(state=State.PRESENT, evidence="enabled and active")
        return Inspection(state=State.ABSENT, evidence="no unit is enabled or there")

    def _is_linked(self, host: Host, unit: str) -> bool:
        return unit_links.is_enabled(host, self.scope, unit)

    def _stand(self, host: Host, units: Iterable[str]) -> dict[str, _Stood]:
        """Look how units stand."""
        if host.is_image:  # its systemd does not run
            linked = {True: "enabled", False: ""}
            return {unit: _Stood(linked[self._is_linked(host, unit)], "") for unit in units}
        found = host.services.properties_of(self.scope, units, "ActiveState", "UnitFileState")
        return {
            unit: _Stood(now["UnitFileState"], now["ActiveState"]) for unit, now in found.items()
        }

    def _others(self, host: Host) -> dict[str, _Stood]:
        """Return those of another plan or version that would stand in the way."""
        found = self._stand(host, (unit for unit in _EVER if unit not in self.units))
        return {
            name: unit for name, unit in found.items() if unit.enabled not in {"", "static"}
        }  # "": not there; static: started by one of the others alone

    def capture(self, host: Host) -> Record:
        """Record which were enabled and active, and what had been written before.

        A repair finds one disabled, too, where somebody did that; what it wrote is then there.
        """
        stood = self._stand(host, self.units) | self._others(host)
        return {
            "units": {
                name: {"enabled": unit.enabled, "active": unit.active}
                for name, unit in stood.items()
            },
            "wrote": [
                folder
                for folder in dict.fromkeys(_STATES.values())
                if any(
                    host.files.stat(f"{base}/{folder}")
                    for base in unit_folders.bases(host, self.scope)
                )
            ],
        }

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Enable them and start them anew, then wait until the server serves; an image: at boot."""
        if host.is_image:
            unit_links.disable(host, self.scope, self._others(host))
            unit_links.enable(host, self.scope, self.units)
            return {}
        host.services.do(self.scope, "daemon-reload")
        for unit in self._others(host):
            host.services.do(self.scope, "stop", unit)
            host.services.do(self.scope, "disable", unit)
        host.services.do(self.scope, "enable", *self.units)
        # What was counted must not forbid this start.
        host.services.forget_failure(self.scope, *self.units)
        self._start(host, self.units, progress)
        return {}

    def _start(self, host: Host, units: Iterable[str], progress: Progress) -> None:
        """Start units anew, the target last; wait until the server that is among them answers."""
        in_order = sorted(units, key=lambda unit: unit == TARGET_UNIT)
        if SOCKET_UNIT in in_order:
            self._open_anew(host)
        for unit in in_order:
            host.services.start(
                self.scope,
                unit,
                lambda waited, said: progress(said or "start the service", int(waited), None),
                "start" if unit in _NOT_ANEW else "restart",
            )
        server = next((unit for unit in in_order if unit in _SERVERS), None)
        if server is not None:
            locations = replace(locate(self.scope, host.environ), unit=server)
            node.wait_ready(
                host,
                locations,
                node_settings.settings(host, locations),
                lambda waited: progress("ask it whether it is ready", int(waited), None),
            )

    def _open_anew(self, host: Host) -> None:
        """Stop what keeps the socket from opening its address; one that has it open stays.

        Clients wait in that. systemd opens a new address only when the socket is started, and
        starts none whose service runs: one that opened its port itself, before.
        """
        places = locate(self.scope, host.environ)
        if not node_units.listens(host, places):
            host.services.do(self.scope, "stop", UNIT)
            return
        where = node_units.socket_address(host, places)
        if where is None:
            return
        if host.network.port_problem(*where) is None:  # free: nothing listens there
            host.services.do(self.scope, "stop", SOCKET_UNIT)

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Stop them; disable those that were not enabled before; remove what only they wrote.

        One that ran before is started again by ``resume``, when its own files are back.
        """
        stood = _stood(before)
        if not host.services.running(self.scope):
            require_answer(host, self.scope)
            gone = [unit for unit in self.units if not _was_enabled(stood, unit)]
            unit_links.disable(host, self.scope, gone)
            return Reverted()
        mine = {*self.units, *(one for unit in self.units for one in _WITH.get(unit, ()))}
        there = self._there(host, sorted(mine))
        if there:
            host.services.do(self.scope, "stop", *there)
            host.services.forget_failure(self.scope, *there)
        enabled = (unit for unit in there if unit not in _NEVER_ENABLED)
        gone = [unit for unit in enabled if not _was_enabled(stood, unit)]
        if gone:
            host.services.do(self.scope, "disable", *gone)
        # Of units whose files went when systemd had refused this: it knows them no more.
        lost = (unit for unit in self.units if unit not in there)
        unit_links.disable(host, self.scope, (u for u in lost if not _was_enabled(stood, u)))
        self._clean(host, there, before)
        self._remove_left(host, mine, before)
        back = [unit for unit in stood if unit not in self.units and _was_enabled(stood, unit)]
        if back := self._there(host, back):
            host.services.do(self.scope, "enable", *back)
        return Reverted()

    def _there(self, host: Host, units: Iterable[str]) -> list[str]:
        found = host.services.properties_of(self.scope, units, "LoadState")
        return [unit for unit, now in found.items() if now["LoadState"] != "not-found"]

    def _clean(self, host: Host, units: Iterable[str], before: Record) -> None:
        """Remove the state and cache folders of the services, unless they were there before.

        Nor those that another server of ours writes into.
        """
        wrote = _wrote(before)
        for unit in units:
            folder = _STATES.get(unit)
            if folder is None or folder in wrote:
                continue
            wrote.add(folder)
            # A user's unit of an older version has none, and systemd refuses to clean it.
            own = self.scope is Scope.SYSTEM or host.services.property(
                self.scope, unit, "StateDirectory"
            )
            if not own:
                continue
            shared = (one for one in _STATES if _STATES[one] == folder and one != unit)
            if all(now.active != "active" for now in self._stand(host, shared).values()):
                host.services.do(self.scope, "clean", "--what=state", "--what=cache", unit)

    def _remove_left(self, host: Host, units: Iterable[str], before: Record) -> None:
        """Remove what ``systemctl clean`` can't: folders of units that are gone.

        They went with the files of an install that was rolled back when systemd had refused this.
        """
        wrote = _wrote(before)
        for folder in sorted({_STATES[unit] for unit in units if unit in _STATES} - wrote):
            sharing = [unit for unit in _STATES if _STATES[unit] == folder]
            if all(now.active != "active" for now in self._stand(host, sharing).values()):
                unit_folders.remove(host, self.scope, folder)

    def resume(self, host: Host, before: Record) -> None:
        """Start again what ran before."""
        ran = [name for name, unit in _stood(before).items() if unit.active == "active"]
        if ran and host.services.running(self.scope):
            host.services.do(self.scope, "daemon-reload")
            self._start(host, ran, lambda _step, _done, _total: None)


def _stood(before: Record) -> dict[str, _Stood]:
    """Return how units stood, of a record of any version: older ones know one unit alone."""
    units = before.get("units")
    if not isinstance(units, dict):
        units = {FORMER_UNIT: before} if "enabled" in before or "active" in before else {}
    return {
        name: _Stood(str(unit.get("enabled", "")), str(unit.get("active", "")))
        for name, unit in units.items()
        if isinstance(unit, dict)
    }


def _was_enabled(stood: dict[str, _Stood], unit: str) -> bool:
    return unit in stood and stood[unit].enabled == "enabled"


def _wrote(before: Record) -> set[str]:
    """Return the state folders that were there before; older receipts know one, or none."""
    wrote = before.get("wrote")
    if isinstance(wrote, list):
        return {str(folder) for folder in wrote}
    return {SERVER_STATE} if wrote else set()
