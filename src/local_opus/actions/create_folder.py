"""Make a folder, and its missing parents, with a mode and a group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State, as_int
from local_opus.actions.ownership import group_number
from local_opus.errors import LocalOpusError
from local_opus.host import FileStat, Host

_DEFAULT = 0o755


class CreateFolder(Action):
    """``mode`` holds permission bits; ``group`` is a name, None: the group of the process.

    A folder that others use too, such as one of the PATH, has no ``mode``: it is made 0755 where it
    is missing, and left as it is where it is there. A link to a folder stands for that folder; the
    link itself is the user's, and stays.
    """

    kind: ClassVar[str] = "create_folder"
    reverted_in: ClassVar[int] = 2
    path: str
    mode: int | None = 0o755
    group: str | None = None

    def summary(self) -> str:
        """Say what it does."""
        owner = f", group {self.group}" if self.group else ""
        return (
            f"create folder {self.path} ({_DEFAULT if self.mode is None else self.mode:04o}{owner})"
        )

    def paths(self) -> tuple[str, ...]:
        """Name the folder."""
        return (self.path,)

    def turn(self) -> tuple[int, int]:
        """The innermost first: a folder that was repaired is newer than what lies in it."""
        return self.reverted_in, -self.path.count("/")

    def reach(self, host: Host) -> None:
        """Open the folder, unless it is others' too."""
        found = self._look(host)
        if self.mode is not None and found is not None and found.kind == "folder":
            host.files.open_up(self.path, follow=True)

    def inspect(self, host: Host) -> Inspection:
        """A folder with this mode and group is present."""
        found = self._look(host)
        if found is None:
            return Inspection(state=State.ABSENT, evidence="not there")
        if found.kind != "folder":
            return Inspection(state=State.DIFFERENT, evidence=f"{found.what} is in its place")
        group = group_number(host, self.group)
        wrong_mode = self.mode is not None and found.mode != self.mode
        if wrong_mode or (group is not None and found.gid != group):
            return Inspection(state=State.DIFFERENT, evidence=f"mode {found.mode:04o}")
        return Inspection(state=State.PRESENT, evidence=f"mode {found.mode:04o}")

    def capture(self, host: Host) -> Record:
        """Record mode and owner of the folder, or which levels are missing."""
        found = self._find(host)
        if found is not None:
            return {"mode": found.mode, "uid": found.uid, "gid": found.gid}
        return {"missing": [*host.files.missing(self.path)]}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Make the missing levels; the last one gets mode and group."""
        self._find(host)
        host.files.make_folders(self.path, mode=_DEFAULT)
        group = group_number(host, self.group, required=not host.is_image)
        if group is not None:
            host.files.set_owner(self.path, -1, group, follow=True)
        if self.mode is not None:
            host.files.set_mode(self.path, self.mode, follow=True)
        return {}

    def _look(self, host: Host) -> FileStat | None:
        """Look at what is in the place: a link only where it leads nowhere."""
        return host.files.stat(self.path, follow=True) or host.files.stat(self.path)

    def _find(self, host: Host) -> FileStat | None:
        """Look for the folder. Raises LocalOpusError where something else is in its place."""
        found = self._look(host)
        if found is not None and found.kind != "folder":
            raise LocalOpusError(
                f"{self.path}: {found.what} is in the place of a folder",
                "Move it away and run this again.",
            )
        return found

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Remove the levels that were missing where they are empty, else restore mode and owner."""
        self.reach(host)
        if not isinstance(before.get("missing"), list):
            found = self._look(host)
            if found is not None and found.kind != "folder":
                return Reverted(kept=_replaced(self.path, found))
            if found is not None:
                uid, gid = as_int(before["uid"]), as_int(before["gid"])
                host.files.set_owner(self.path, uid, gid, follow=True)
                host.files.set_mode(self.path, as_int(before["mode"]), follow=True)
            return Reverted()
        for path, found in self._made(host, before):
            if found.kind != "folder":
                return Reverted(kept=_replaced(path, found))
            left = host.files.list(path)
            if left:
                return Reverted(kept=_not_empty(path, left), later=True)
            host.files.remove_folder(path)
        return Reverted()

    def held(self, host: Host, before: Record) -> str | None:
        """A folder that was made and holds something can't go."""
        for path, found in self._made(host, before):
            left = host.files.list(path) if found.kind == "folder" else []
            return _not_empty(path, left) if left else None
        return None

    def _made(self, host: Host, before: Record) -> Iterator[tuple[str, FileStat]]:
        """Yield the levels that were missing and what is there, the innermost first."""
        missing = before.get("missing")
        for path in reversed([str(path) for path in missing] if isinstance(missing, list) else []):
            if not f"{self.path}/".startswith(f"{path}/"):
                raise LocalOpusError(
                    f"{path}: not on the way to {self.path}", "Restore the receipt from a backup."
                )
            if (found := host.files.stat(path)) is not None:
                yield path, found


def _replaced(path: str, found: FileStat) -> str:
    return f"{path}: a {found.kind} took its place"


def _not_empty(path: str, left: Sequence[str]) -> str:
    return f"{path}: not empty ({', '.join(left[:3])})"
