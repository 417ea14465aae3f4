"""Write a file whose content was rendered by the planner."""

from __future__ import annotations

import base64
import hashlib
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
from local_opus.actions.ownership import group_number
from local_opus.errors import LocalOpusError
from local_opus.host import FileStat, Host

#: Bytes of a file that was there before which the receipt keeps at most.
MAX_KEPT = 1024 * 1024


class WriteFile(Action):
    """``content`` is text; ``mode`` holds permission bits; ``group`` None: that of the process."""

    kind: ClassVar[str] = "write_file"
    path: str
    content: str
    mode: int = 0o644
    group: str | None = None

    def summary(self) -> str:
        """Say what it does."""
        return f"write {self.path} ({len(self.content.encode())} bytes, {self.mode:04o})"

    def paths(self) -> tuple[str, ...]:
        """Name the file."""
        return (self.path,)

    def lacking(
        self, host: Host, found: FileStat | None, absent: str = "not there"
    ) -> Inspection | None:
        """Say what is wrong before the content is looked at; None: a file of its mode and group.

        ``found`` is what is there, ``absent`` the evidence where nothing is.
        """
        if found is None:
            return Inspection(state=State.ABSENT, evidence=absent)
        if found.kind != "file":
            return Inspection(state=State.DIFFERENT, evidence=f"{found.what} is in its place")
        group = group_number(host, self.group)
        # First: where the mode is wrong, the content may not be readable.
        if found.mode != self.mode or (group is not None and found.gid != group):
            return Inspection(state=State.DIFFERENT, evidence=f"mode {found.mode:04o}")
        return None

    def inspect(self, host: Host) -> Inspection:
        """The same content, mode and group is present."""
        found = host.files.stat(self.path)
        if (lacking := self.lacking(host, found)) is not None:
            return lacking
        data = self.content.encode()
        of_other_size = found is not None and found.size != len(data)  # then it need not be read
        if of_other_size or host.files.read_bytes(self.path) != data:
            return Inspection(state=State.DIFFERENT, evidence="other content")
        if host.files.has_new(self.path):
            return Inspection(state=State.DIFFERENT, evidence="a half-written one beside it")
        return Inspection(state=State.PRESENT, evidence=f"{len(data)} bytes")

    def capture(self, host: Host) -> Record:
        """Keep the content of a file that is there, up to MAX_KEPT bytes."""
        found = host.files.stat(self.path)
        if found is None:
            return {"existed": False}
        if found.kind != "file" or found.size > MAX_KEPT:
            what = found.what if found.kind != "file" else f"a file of {found.size} bytes"
            raise LocalOpusError(
                f"{self.path}: {what} is there, and could not be put back later",
                "Move it away and run this again.",
            )
        return {
            "existed": True,
            "content": base64.b64encode(host.files.read_bytes(self.path)).decode(),
            "mode": found.mode,
            "uid": found.uid,
            "gid": found.gid,
            "mtime_ns": found.mtime_ns,
        }

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Write it atomically."""
        data = self.content.encode()
        group = group_number(host, self.group, required=not host.is_image)
        host.files.write_atomic(self.path, data, mode=self.mode, gid=group)
        return {"sha256": _digest(data)}

    def reach(self, host: Host) -> None:
        """Open the file."""
        host.files.open_up(self.path)

    def edited(self, host: Host, after: Record) -> str | None:
        """Compare with the digest of what was written, and with what stood there earlier."""
        return self._differs(host, after, *earlier(after))

    def edited_meanwhile(self, host: Host, *earlier: Record) -> str | None:
        """Compare with what stood there and what was to be written: nothing else a kill leaves."""
        return self._differs(host, {"sha256": _digest(self.content.encode())}, *earlier)

    def _differs(self, host: Host, *known: Record) -> str | None:
        """Say so where nothing of what is ``known`` is there; each as captured, or as written."""
        found = host.files.stat(self.path)
        if found is None:
            return None
        if found.kind != "file":
            return f"{self.path}: {found.what} took its place"
        try:
            data = host.files.read_bytes(self.path)
        except PermissionError:
            if host.files.is_closed(found):  # no edit as far as one can tell before `reach`
                return None
            raise
        digests = {one["sha256"] for one in known if "sha256" in one}
        contents = (str(one["content"]) for one in known if one.get("existed"))
        digests |= {_digest(base64.b64decode(content)) for content in contents}
        if _digest(data) not in digests:
            return f"{self.path}: edited since it was written"
        return None

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Put back what was there, or remove it; keep what the user edited."""
        self.reach(host)
        if after is not None and (kept := self.edited(host, after)) is not None:
            return Reverted(kept=kept)
        host.files.discard_new(self.path)
        if before.get("existed") and not self._stands(host, before):
            # Receipts of schema 1 know no time.
            mtime = as_int(before["mtime_ns"]) if "mtime_ns" in before else None
            host.files.make_folders(self.path.rpartition("/")[0])
            host.files.write_atomic(
                self.path,
                base64.b64decode(str(before["content"])),
                mode=as_int(before["mode"]),
                uid=as_int(before["uid"]),
                gid=as_int(before["gid"]),
                mtime_ns=mtime,
            )
        elif not before.get("existed") and host.files.stat(self.path) is not None:
            host.files.remove(self.path)
        return Reverted()

    def _stands(self, host: Host, before: Record) -> bool:
        """Tell whether what was captured is there, as it was: to write it again takes room."""
        found = host.files.stat(self.path)
        if found is None or found.kind != "file":
            return False
        facts = {"mode": found.mode, "uid": found.uid, "gid": found.gid, "mtime_ns": found.mtime_ns}
        if any(before.get(name) != value for name, value in facts.items()):
            return False
        return host.files.read_bytes(self.path) == base64.b64decode(str(before["content"]))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
