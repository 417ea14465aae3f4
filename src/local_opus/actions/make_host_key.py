"""Have systemd make its key for credentials, where this machine has none yet."""

from __future__ import annotations

from typing import ClassVar

from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.keys.sealing import HOST_KEY
from local_opus.values import Scope

_SECONDS = 30.0


class MakeHostKey(Action):
    """The key is the machine's: other programs' credentials are encrypted with it too."""

    kind: ClassVar[str] = "make_host_key"
    scope: Scope

    def summary(self) -> str:
        """Say what it does."""
        return f"have systemd make its key for credentials, {HOST_KEY}"

    def paths(self) -> tuple[str, ...]:
        """It is systemd that makes it, in a folder of its own."""
        return ()

    def inspect(self, host: Host) -> Inspection:
        """A key is present."""
        there = host.files.stat(HOST_KEY) is not None
        state = State.PRESENT if there else State.ABSENT
        return Inspection(state=state, evidence="there" if there else "not there")

    def capture(self, host: Host) -> Record:
        """Record whether there was one."""
        return {"existed": host.files.stat(HOST_KEY) is not None}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Make it."""
        done = host.processes.run(["systemd-creds", "setup"], timeout=_SECONDS)
        if done.code != 0:
            raise LocalOpusError(
                f"systemd-creds setup: {done.last_line}", "See `man systemd-creds`."
            )
        return {}

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Leave it: since it is there, anybody may have encrypted something with it."""
        if before.get("existed") or host.files.stat(HOST_KEY) is None:
            return Reverted()
        return Reverted(
            kept=f"{HOST_KEY}: systemd's own key for credentials, which others may use since"
        )
