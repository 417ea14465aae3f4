"""Link the program into a folder of the PATH."""

from __future__ import annotations

from typing import ClassVar

from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State, earlier
from local_opus.errors import LocalOpusError
from local_opus.host import Host


class LinkCommand(Action):
    """A symbolic link at ``path`` to ``target``."""

    kind: ClassVar[str] = "link_command"
    path: str
    target: str

    def summary(self) -> str:
        """Say what it does."""
        return f"link {self.path} to {self.target}"

    def paths(self) -> tuple[str, ...]:
        """Name the link."""
        return (self.path,)

    def inspect(self, host: Host) -> Inspection:
        """A link with this target is present."""
        found = host.files.stat(self.path)
        if found is None:
            return Inspection(state=State.ABSENT, evidence="not there")
        if found.kind != "link":
            return Inspection(state=State.DIFFERENT, evidence=f"{found.what} is in its place")
        target = host.files.read_link(self.path)
        right = target == self.target and not host.files.has_new(self.path)
        state = State.PRESENT if right else State.DIFFERENT
        return Inspection(state=state, evidence=f"links to {target}")

    def capture(self, host: Host) -> Record:
        """Keep the target of a link that is there."""
        found = host.files.stat(self.path)
        if found is None:
            return {"target": None}
        if found.kind != "link":
            raise LocalOpusError(
                f"{self.path}: {found.what} of that name is there and is not ours",
                "Move it away and run this again.",
            )
        return {"target": host.files.read_link(self.path)}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Make the link."""
        host.files.symlink(self.target, self.path)
        return {"target": self.target}

    def edited(self, host: Host, after: Record) -> str | None:
        """Compare the target with what was linked, and with what stood there earlier."""
        return self._differs(host, after, *earlier(after))

    def edited_meanwhile(self, host: Host, *earlier: Record) -> str | None:
        """Compare the target with what stood there and what was to be linked."""
        return self._differs(host, {"target": self.target}, *earlier)

    def _differs(self, host: Host, *known: Record) -> str | None:
        found = host.files.stat(self.path)
        if found is None:
            return None
        ours = [record.get("target") for record in known]
        if found.kind != "link" or host.files.read_link(self.path) not in ours:
            return f"{self.path}: changed since it was linked"
        return None

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Put the former link back, or remove ours."""
        host.files.discard_new(self.path)
        if after is not None and (kept := self.edited(host, after)) is not None:
            return Reverted(kept=kept)
        former = before.get("target")
        if isinstance(former, str):
            host.files.make_folders(self.path.rpartition("/")[0])
            host.files.symlink(former, self.path)
        else:
            host.files.discard(self.path)
        return Reverted()
