"""Try a new server beside the one that serves, on another port, with a unit of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from local_opus import node, node_settings, selftest, server_log
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.actions.ownership import group_number
from local_opus.devices.names import DeviceName
from local_opus.facts import memory
from local_opus.host import Host
from local_opus.keys import giving
from local_opus.locations import Locations, locate
from local_opus.values import Device, Model, Scope

_CONFIG_FOLDER_MODE = 0o750


class TryServer(Action):
    """Start it, ask it, end it; nothing stays. ``configs`` maps file names to contents.

    Where memory lacks for two servers the one that serves is stopped for it, and started again
    when the trial fails.
    """

    kind: ClassVar[str] = "try_server"
    scope: Scope
    #: Folders of the trial alone, but for ``units``.
    config: str
    runtime: str
    logs: str
    units: str
    configs: dict[str, str]
    group: str | None
    #: The unit's content; None: no systemd runs, and ``command`` is started.
    unit: str | None
    command: tuple[str, ...]
    model: Model
    model_folder: str
    #: OpenVINO's name; what older versions wrote is one, too.
    device: DeviceName
    port: int
    #: Bytes that the new server needs.
    memory: int

    def summary(self) -> str:
        """Say what it does."""
        return f"try the new server on port {self.port}, beside the one that serves"

    def paths(self) -> tuple[str, ...]:
        """Name its files and folders."""
        configs = (f"{self.config}/{name}" for name in self.configs)
        return (self.config, self.runtime, self.logs, self.units, *configs)

    def _places(self, host: Host) -> Locations:
        return replace(
            locate(self.scope, host.environ).trial,
            config=self.config,
            runtime=self.runtime,
            logs=self.logs,
            units=self.units,
        )

    def inspect(self, host: Host) -> Inspection:  # noqa: ARG002
        """It leaves nothing that could be there."""
        return Inspection(state=State.ABSENT, evidence="a trial")

    def capture(self, host: Host) -> Record:
        """Keep what serves now, to start it again."""
        places = locate(self.scope, host.environ)
        running = node.serving(host, places)
        detached = running is not None and running.how == "detached"
        return {
            "serving": running is not None,
            "command": [*node.command_of(host, running)] if running and detached else None,
        }

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:
        """Start the new server, ask it and compare the model's canary."""
        places = self._places(host)
        self.revert(host, before, None)  # of a trial that was killed
        self._make_room(host)
        group = group_number(host, self.group)
        host.files.make_folder(places.config, mode=_CONFIG_FOLDER_MODE, gid=group)
        for name, content in self.configs.items():
            path = f"{places.config}/{name}"
            mode = 0o600 if group is None else 0o640
            host.files.write_atomic(path, content.encode(), mode=mode, gid=group)
        with server_log.kept(host, places):
            self._start(host, places, progress)
            progress("ask it", 0, None)
            result = selftest.server(host, places, self.model.id)
        progress("canary", 0, None)
        return result | selftest.canary(host, self.model_folder, self.device, self.model.canary)

    def _make_room(self, host: Host) -> None:
        """Stop what serves where both would not fit; how full a GPU or NPU is, nothing tells."""
        places = locate(self.scope, host.environ)
        running = node.serving(host, places)
        fits = memory.parse(memory.read(host)).usable >= self.memory
        if running is not None and not (fits and self.device == Device.CPU):
            node.stop(host, places, running)

    def _start(self, host: Host, places: Locations, progress: Progress) -> None:
        if self.unit is None:
            node.start_detached(host, places, list(self.command))
        else:
            unit = self.unit + giving.trial_lines(host, places)
            host.files.write_atomic(f"{places.units}/{places.unit}", unit.encode())
            host.services.do(self.scope, "daemon-reload")
            host.services.start(
                self.scope,
                places.unit,
                lambda waited, said: progress(said or "start the service", int(waited), None),
            )
        node.wait_ready(
            host,
            places,
            node_settings.settings(host, places),
            lambda waited: progress("load the model", int(waited), None),
        )

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """End it and remove what was made for it."""
        places = self._places(host)
        if self.unit is not None and host.services.running(self.scope):
            self._end_service(host, places)
        elif (running := node.serving(host, places)) is not None:
            node.stop_detached(host, places, running)
        giving.take_back(host, places)
        host.files.discard(f"{places.units}/{places.unit}")
        if self.unit is not None and host.services.running(self.scope):
            host.services.do(self.scope, "daemon-reload")
        files = [f"{places.config}/{name}" for name in self.configs]
        files += [places.pid_file, places.server_log, f"{places.server_log}.1"]
        for path in files:
            if host.files.stat(path.rpartition("/")[0]) is not None:
                host.files.discard(path)
        for folder in (places.config, places.runtime, places.logs):
            if host.files.stat(folder) is not None:
                host.files.remove_folder(folder)
        return Reverted()

    def _end_service(self, host: Host, places: Locations) -> None:
        found = host.services.properties(self.scope, places.unit, "LoadState", "ActiveState")
        if found["LoadState"] == "not-found":
            return
        host.services.do(self.scope, "stop", places.unit)
        if host.services.property(self.scope, places.unit, "ActiveState") == "failed":
            host.services.do(self.scope, "reset-failed", places.unit)
        if self.scope is Scope.SYSTEM:  # the state and cache folders of its dynamic user
            host.services.do(self.scope, "clean", "--what=state", "--what=cache", places.unit)

    def resume(self, host: Host, before: Record) -> None:
        """Start again what served, if it was stopped for the trial."""
        places = locate(self.scope, host.environ)
        if not before.get("serving") or node.serving(host, places) is not None:
            return
        command = before.get("command")
        if isinstance(command, list):
            node.start_detached(host, places, [str(word) for word in command])
        else:
            host.services.start(self.scope, places.unit, lambda _waited, _said: None)
        node.wait_ready(host, places, node_settings.settings(host, places), lambda _waited: None)
