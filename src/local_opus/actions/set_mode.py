"""Close a file that others could read or change: its permission bits, and nothing else of it."""

from __future__ import annotations

from typing import ClassVar

from local_opus.actions.base import (
    Action,
    Inspection,
    Progress,
    Record,
    Reverted,
    State,
    as_int,
    earlier,
)
from local_opus.host import Host


class SetMode(Action):
    """``mode`` holds permission bits. A file that is gone meanwhile is no longer of interest."""

    kind: ClassVar[str] = "set_mode"
    path: str
    mode: int

    def summary(self) -> str:
        """Say what it does."""
        return f"set the mode of {self.path} to {self.mode:04o}"

    def paths(self) -> tuple[str, ...]:
        """Name the file."""
        return (self.path,)

    def inspect(self, host: Host) -> Inspection:
        """The mode is as wanted."""
        found = host.files.stat(self.path)
        if found is None:
            return Inspection(state=State.ABSENT, evidence="not there")
        state = State.PRESENT if found.mode == self.mode else State.DIFFERENT
        return Inspection(state=state, evidence=f"mode {found.mode:04o}")

    def capture(self, host: Host) -> Record:
        """Record the mode."""
        found = host.files.stat(self.path)
        return {} if found is None else {"mode": found.mode}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Set it."""
        if host.files.stat(self.path) is not None:
            host.files.set_mode(self.path, self.mode)
        return {"mode": self.mode}

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Give it the mode that it had, unless the user has given it another since.

        That other one is no edit while it is installed: what was closed is to be closed again.
        """
        found = host.files.stat(self.path)
        if found is None or "mode" not in before:
            return Reverted()
        had = as_int(before["mode"])
        known = {had, self.mode, *(one["mode"] for one in earlier(after or {}) if "mode" in one)}
        if found.mode not in known:
            return Reverted(kept=f"{self.path}: its mode was changed to {found.mode:04o}")
        if found.mode != had:
            host.files.set_mode(self.path, had)
        return Reverted()
