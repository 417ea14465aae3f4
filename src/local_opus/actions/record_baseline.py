"""Measure the server that an install has just started, for the monitor to compare with."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from local_opus import selftest
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.actions.ownership import group_number
from local_opus.actions.write_file import WriteFile
from local_opus.host import Host
from local_opus.locations import locate
from local_opus.monitor import baseline
from local_opus.monitor.baseline import Baseline
from local_opus.values import Scope, Sha256


class RecordBaseline(Action):
    """Asks the server as the self-test does, and writes the answer's rate into ``path``.

    ``inputs_sha256`` is the start's: what changes the server changes its speed. ``mode`` and
    ``group`` are those of the configs, which the monitor may read.
    """

    kind: ClassVar[str] = "record_baseline"
    scope: Scope
    path: str
    model: str
    inputs_sha256: Sha256
    mode: int = 0o600
    group: str | None = None

    def summary(self) -> str:
        """Say what it does."""
        return f"measure how fast the server answers, for the monitor, into {self.path}"

    def paths(self) -> tuple[str, ...]:
        """Name the file."""
        return (self.path,)

    def _file(self, content: str = "") -> WriteFile:
        """Return the action that writes such a file: it captures and reverts like this one."""
        return WriteFile(path=self.path, content=content, mode=self.mode, group=self.group)

    def inspect(self, host: Host) -> Inspection:
        """A measurement of just this server is there."""
        found = host.files.stat(self.path)
        if (lacking := self._file().lacking(host, found, "not measured")) is not None:
            return lacking
        there = baseline.parse(host.files.read_bytes(self.path, baseline.LIMIT))
        if there is None:
            return Inspection(state=State.DIFFERENT, evidence="no measurement is in it")
        if (there.model, there.measured_for) != (self.model, self.inputs_sha256):
            return Inspection(state=State.DIFFERENT, evidence="measured of another server")
        return Inspection(state=State.PRESENT, evidence=f"{there.tokens_per_second} tokens/s")

    def capture(self, host: Host) -> Record:
        """Keep the file that is there."""
        return self._file().capture(host)

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Measure and write."""
        progress("ask the server", 0, None)
        said = selftest.server(host, locate(self.scope, host.environ), self.model)
        found = Baseline.model_validate(
            {
                "model": self.model,
                "measured_for": self.inputs_sha256,
                "tokens_per_second": said["tokens_per_second"],
                "first_token_seconds": said["first_token_seconds"],
            }
        )
        data = (found.model_dump_json(indent=2) + "\n").encode()
        group = group_number(host, self.group, required=not host.is_image)
        host.files.write_atomic(self.path, data, mode=self.mode, gid=group)
        return {
            "sha256": hashlib.sha256(data).hexdigest(),
            "tokens_per_second": found.tokens_per_second,
        }

    def reach(self, host: Host) -> None:
        """Open the file."""
        host.files.open_up(self.path)

    def edited(self, host: Host, after: Record) -> str | None:
        """Compare as for any file."""
        return self._file().edited(host, after)

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Put back what was there, or remove it; keep what the user edited."""
        return self._file().revert(host, before, after)
