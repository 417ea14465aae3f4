"""Start the server without systemd, in the background."""

from __future__ import annotations

from typing import ClassVar

from local_opus import node, node_settings, server_log
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.actions.ownership import lost_group
from local_opus.host import Host
from local_opus.locations import Locations, locate
from local_opus.values import Scope, Sha256


class StartServer(Action):
    """A detached server; ``inputs_sha256`` changes with its configs and its environment."""

    kind: ClassVar[str] = "start_server"
    scope: Scope
    command: tuple[str, ...]
    inputs_sha256: Sha256

    def summary(self) -> str:
        """Say what it does."""
        return "start the server in the background (systemd does not run here)"

    def paths(self) -> tuple[str, ...]:
        """The PID file and the log lie where the scope has them."""
        return ()

    def inspect(self, host: Host) -> Inspection:
        """A server of this install runs."""
        running = node.serving(host, locate(self.scope, host.environ))
        if running is None:
            return Inspection(state=State.ABSENT, evidence="no server runs")
        if (evidence := lost_group(host, self.scope)) is not None:
            return Inspection(state=State.DIFFERENT, evidence=evidence)
        return Inspection(state=State.PRESENT, evidence=f"PID {running.pid}")

    def capture(self, host: Host) -> Record:
        """Keep the command of a server that runs, to start it again if the new one fails.

        One that ended has left its log: a repair that fails must not lose why.
        """
        locations = locate(self.scope, host.environ)
        running = node.serving(host, locations)
        return {
            "command": [*node.command_of(host, running)] if running else None,
            "logged": any(host.files.stat(log) is not None for log in _logs(locations)),
        }

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Start it, or start it anew when its inputs changed."""
        locations = locate(self.scope, host.environ)
        running = node.serving(host, locations)
        if running is not None:
            node.stop_detached(host, locations, running)
        started = node.start_detached(host, locations, list(self.command))
        where = node_settings.settings(host, locations)
        with server_log.kept(host, locations):
            node.wait_ready(
                host, locations, where, lambda waited: progress("load the model", int(waited), None)
            )
        return {"pid": started.pid}

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Stop it; remove its log unless one was there. ``resume`` starts a former one again."""
        locations = locate(self.scope, host.environ)
        running = node.serving(host, locations)
        if running is not None:
            node.stop_detached(host, locations, running)
        node.forget(host, locations)
        if before.get("command") or before.get("logged"):  # the latter: not in older receipts
            return Reverted()
        for log in _logs(locations):
            host.files.discard(log)
        node.forget_state(host, locations)
        return Reverted()

    def resume(self, host: Host, before: Record) -> None:
        """Start again what ran before."""
        former = before.get("command")
        if isinstance(former, list) and former:
            locations = locate(self.scope, host.environ)
            node.start_detached(host, locations, [str(word) for word in former])
            node.wait_ready(
                host, locations, node_settings.settings(host, locations), lambda _waited: None
            )


def _logs(locations: Locations) -> tuple[str, str]:
    return locations.server_log, f"{locations.server_log}.1"
