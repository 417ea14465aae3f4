"""Enable and start the service under systemd."""

from __future__ import annotations

from typing import ClassVar

from local_opus import node
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.actions.ownership import lost_group
from local_opus.asking import require_answer
from local_opus.host import Host
from local_opus.locations import UNIT, locate
from local_opus.values import Scope, Sha256

#: Where systemd makes the state folder of the unit of the system when it first starts.
_STATE = f"/var/lib/{UNIT.removesuffix('.service')}"
#: What the unit is wanted by, as its own [Install] section says.
TARGETS = {Scope.SYSTEM: "multi-user.target", Scope.USER: "default.target"}


class EnableService(Action):
    """The server's unit, enabled and running; ``inputs_sha256`` changes with all it reads."""

    kind: ClassVar[str] = "enable_service"
    #: Before all files: where it can't be ended, what it runs from stays.
    reverted_in: ClassVar[int] = -1
    scope: Scope
    inputs_sha256: Sha256

    def summary(self) -> str:
        """Say what it does."""
        return f"enable and start {UNIT}"

    def paths(self) -> tuple[str, ...]:
        """Systemd makes its own links, in the folder that the scope has for units."""
        return ()

    def inspect(self, host: Host) -> Inspection:
        """Enabled and active, in the group that may read configs and weights, is present."""
        found = self._look(host)
        active, enabled = found["ActiveState"], found["UnitFileState"]
        if active == "active" and enabled == "enabled":
            if (evidence := lost_group(host, self.scope)) is not None:
                return Inspection(state=State.DIFFERENT, evidence=evidence)
            return Inspection(state=State.PRESENT, evidence="enabled and active")
        state = State.ABSENT if not enabled else State.DIFFERENT
        return Inspection(state=state, evidence=f"{enabled or 'no unit'}, {active}")

    def _look(self, host: Host) -> dict[str, str]:
        return host.services.properties(
            self.scope, UNIT, "LoadState", "ActiveState", "UnitFileState"
        )

    def capture(self, host: Host) -> Record:
        """Record whether it was enabled and active, and whether it had run before.

        A repair finds it disabled, too, where somebody did that; what it wrote is then there.
        """
        found = self._look(host)
        return {
            "enabled": found["UnitFileState"],
            "active": found["ActiveState"],
            "wrote": host.files.stat(_STATE) is not None,
        }

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Enable it and start it anew, then wait until it serves."""
        host.services.do(self.scope, "daemon-reload")
        host.services.do(self.scope, "enable", UNIT)
        self._forget_failure(host)  # what it counted must not forbid this start
        self._start(host, progress)
        return {}

    def _forget_failure(self, host: Host) -> None:
        if self._look(host)["ActiveState"] == "failed":  # of a unit that systemd has unloaded: none
            host.services.do(self.scope, "reset-failed", UNIT)

    def _start(self, host: Host, progress: Progress) -> None:
        locations = locate(self.scope, host.environ)
        host.services.start(
            self.scope,
            UNIT,
            lambda waited, said: progress(said or "start the service", int(waited), None),
            "restart",
        )
        node.wait_ready(
            host,
            locations,
            node.settings(host, locations),
            lambda waited: progress("ask it whether it is ready", int(waited), None),
        )

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Stop it; disable it unless it was enabled before; remove what only it wrote since.

        One that ran before is started again by ``resume``, when its own files are back.
        """
        if not host.services.running(self.scope):
            require_answer(host, self.scope)
            if before.get("enabled") != "enabled":
                self._disable_by_hand(host)
            return Reverted()
        if self._look(host)["LoadState"] == "not-found":
            return Reverted()
        host.services.do(self.scope, "stop", UNIT)
        if before.get("enabled") != "enabled":
            self._forget_failure(host)
            host.services.do(self.scope, "disable", UNIT)
            # The state and cache folders of its dynamic user; older receipts know no `wrote`.
            if self.scope is Scope.SYSTEM and not before.get("wrote"):
                host.services.do(self.scope, "clean", "--what=state", "--what=cache", UNIT)
        return Reverted()

    def _disable_by_hand(self, host: Host) -> None:
        """Remove the link by which it would start again, as systemd does; here none is running."""
        wants = f"{locate(self.scope, host.environ).units}/{TARGETS[self.scope]}.wants"
        found = host.files.stat(f"{wants}/{UNIT}")
        if found is not None and found.kind == "link":
            host.files.remove(f"{wants}/{UNIT}")
            if not host.files.list(wants):
                host.files.remove_folder(wants)

    def resume(self, host: Host, before: Record) -> None:
        """Start it again if it ran before."""
        if before.get("active") == "active" and host.services.running(self.scope):
            host.services.do(self.scope, "daemon-reload")
            self._start(host, lambda _step, _done, _total: None)
