"""Write a systemd unit and make systemd read it."""

from __future__ import annotations

from typing import ClassVar

from local_opus.actions.base import Progress, Record, Reverted
from local_opus.actions.write_file import WriteFile
from local_opus.host import Host
from local_opus.values import Scope


class InstallUnit(WriteFile):
    """A unit file; systemd is told of the change where it runs."""

    kind: ClassVar[str] = "install_unit"
    scope: Scope

    def summary(self) -> str:
        """Say what it does."""
        return f"install the unit {self.path}"

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:
        """Write it and reload."""
        after = super().execute(host, before, progress)
        self._reload(host)
        return after

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Put back what was there and reload."""
        reverted = super().revert(host, before, after)
        self._reload(host)
        return reverted

    def _reload(self, host: Host) -> None:
        if host.services.running(self.scope):
            host.services.do(self.scope, "daemon-reload")
