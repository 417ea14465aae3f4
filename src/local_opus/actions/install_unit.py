"""Write a systemd unit and make systemd read it.

A mask (systemctl(1): a link to /dev/null in the place of the unit) that came later counts as
damage: the unit is written again. One that was there before the install comes back with the revert.
"""

from __future__ import annotations

import re
from typing import ClassVar

from local_opus.actions.base import Progress, Record, Reverted
from local_opus.actions.write_file import WriteFile
from local_opus.host import Host
from local_opus.locations import FORMER_UNIT, UNIT
from local_opus.values import Scope

_MASK = "/dev/null"
#: Drop-ins of ours, which actions of their own write and remove.
OURS = re.compile(r"[0-9]+-local-opus-")


class InstallUnit(WriteFile):
    """A unit file; systemd is told of the change where it runs."""

    kind: ClassVar[str] = "install_unit"
    scope: Scope

    def summary(self) -> str:
        """Say what it does."""
        return f"install the unit {self.path}"

    def capture(self, host: Host) -> Record:
        """Keep the unit that is there, or remember that it is masked."""
        return {"masked": True} if self._masked(host) else super().capture(host)

    def _differs(self, host: Host, *known: Record) -> str | None:
        return None if self._masked(host) else super()._differs(host, *known)

    def _masked(self, host: Host) -> bool:
        found = host.files.stat(self.path)
        return (
            found is not None and found.kind == "link" and host.files.read_link(self.path) == _MASK
        )

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:
        """Write it and reload."""
        after = super().execute(host, before, progress)
        self._reload(host)
        return after

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Put back what was there and reload."""
        reverted = super().revert(host, before, after)
        if before.get("masked") and reverted.kept is None:
            host.files.make_folders(self.path.rpartition("/")[0])
            host.files.symlink(_MASK, self.path)
        self._reload(host)
        return reverted.model_copy(update={"told": self._drop_ins(host)})

    def _drop_ins(self, host: Host) -> str | None:
        """Say which drop-ins for the unit stay: they are the admin's (systemd.unit(5))."""
        folder = f"{self.path}.d"
        found = host.files.stat(folder)
        if found is None or found.kind != "folder":
            return None
        theirs = (name for name in host.files.list(folder) if name.endswith(".conf"))
        names = ", ".join(name for name in theirs if not OURS.match(name))
        if not names:
            return None
        units, _, name = self.path.rpartition("/")
        if name == FORMER_UNIT and host.files.stat(f"{units}/{UNIT}") is not None:
            return (
                f"{folder}: {names}: yours, and no longer applied: the unit is {UNIT} now. "
                f"Move them to {units}/{UNIT}.d"
            )
        return f"{folder}: {names}: yours, so they stay"

    def _reload(self, host: Host) -> None:
        if host.services.running(self.scope):
            host.services.do(self.scope, "daemon-reload")
