"""Keep a credential. What it holds is written beside the receipt, and never into it."""

from __future__ import annotations

from typing import ClassVar

from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.host import Host
from local_opus.keys import store
from local_opus.values import Identifier, Scope


class KeepCredential(Action):
    """A file ``name`` in ``folder``, encrypted or not: the receipt says that it is ours.

    Whoever adds it writes it after this was recorded, so that a kill leaves no file that no receipt
    names.
    """

    kind: ClassVar[str] = "keep_credential"
    scope: Scope
    folder: str
    name: Identifier

    def summary(self) -> str:
        """Say what it does."""
        return f"keep the credential {self.name} in {self.folder}"

    def paths(self) -> tuple[str, ...]:
        """Name the two files that it may be."""
        return store.paths(self.folder, self.name)

    def inspect(self, host: Host) -> Inspection:
        """Either file is present."""
        for path in self.paths():
            if (found := host.files.stat(path)) is not None:
                return Inspection(state=State.PRESENT, evidence=f"{path}, mode {found.mode:04o}")
        return Inspection(state=State.ABSENT, evidence="not there")

    def capture(self, host: Host) -> Record:  # noqa: ARG002 - nothing of a key is recorded
        """Record nothing: what was there is no install's to put back."""
        return {}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Do nothing yet."""
        return {}

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Remove it."""
        if host.files.stat(self.folder) is not None:
            for path in self.paths():
                host.files.discard(path)
        return Reverted()
