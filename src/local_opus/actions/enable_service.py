"""Enable and start the service under systemd."""

from __future__ import annotations

from typing import ClassVar

from local_opus import node
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.host import Host
from local_opus.locations import UNIT, locate
from local_opus.values import Scope, Sha256


class EnableService(Action):
    """The server's unit, enabled and running; ``inputs_sha256`` changes with all it reads."""

    kind: ClassVar[str] = "enable_service"
    scope: Scope
    inputs_sha256: Sha256

    def summary(self) -> str:
        """Say what it does."""
        return f"enable and start {UNIT}"

    def paths(self) -> tuple[str, ...]:
        """Systemd makes its own links."""
        return ()

    def inspect(self, host: Host) -> Inspection:
        """Enabled and active is present."""
        active = host.services.property(self.scope, UNIT, "ActiveState")
        enabled = host.services.property(self.scope, UNIT, "UnitFileState")
        if active == "active" and enabled == "enabled":
            return Inspection(state=State.PRESENT, evidence="enabled and active")
        state = State.ABSENT if not enabled else State.DIFFERENT
        return Inspection(state=state, evidence=f"{enabled or 'no unit'}, {active}")

    def capture(self, host: Host) -> Record:
        """Record whether it was enabled and active."""
        return {
            "enabled": host.services.property(self.scope, UNIT, "UnitFileState"),
            "active": host.services.property(self.scope, UNIT, "ActiveState"),
        }

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Enable it and start it anew, then wait until it serves."""
        locations = locate(self.scope, host.environ)
        host.services.do(self.scope, "daemon-reload")
        if host.services.property(self.scope, UNIT, "UnitFileState") == "masked":
            host.services.do(self.scope, "unmask", UNIT)
        host.services.do(self.scope, "enable", UNIT)
        host.services.do(self.scope, "restart", UNIT)
        node.wait_ready(
            host,
            locations,
            node.settings(host, locations),
            lambda waited: progress("load the model", int(waited), None),
        )
        return {}

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Stop it, and disable it unless it was enabled before."""
        if not host.services.running(self.scope):
            return Reverted()
        if host.services.property(self.scope, UNIT, "LoadState") != "not-found":
            if before.get("active") == "active":
                host.services.do(self.scope, "restart", UNIT)
            else:
                host.services.do(self.scope, "stop", UNIT)
            if before.get("enabled") != "enabled":
                host.services.do(self.scope, "disable", UNIT)
        return Reverted()
