"""Make a static system group."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.errors import LocalOpusError
from local_opus.host import Host

_TIMEOUT = 30.0
#: groupdel(8): the group does not exist.
_NO_SUCH_GROUP = 6
#: groupadd(8): the name is taken.
_NAME_TAKEN = 9
#: What helps, by program and exit code.
_REMEDIES = {
    ("groupadd", 4): "No number of system groups is free: widen SYS_GID_MIN to SYS_GID_MAX in "
    "{etc}/login.defs, or remove a group that nobody needs, then run this again.",
    ("groupdel", 8): "Give the users whose primary group it is another one "
    "(`usermod --gid GROUP USER`), then run this again.",
    **dict.fromkeys(  # the group file could not be locked or written
        (("groupadd", 10), ("groupdel", 10)),
        "See that {etc}/group can be written, and that no other program changes users or groups "
        "(one that died leaves {etc}/group.lock), then run this again.",
    ),
}
#: What groupadd and groupdel open below /etc.
_OPENED = re.compile(r"g?shadow|group|passwd|sub[ug]id|login\.defs|\.pwd\.lock")


class CreateGroup(Action):
    """A system group, made with groupadd(8) so that the machine's own rules for numbers hold."""

    kind: ClassVar[str] = "create_group"
    #: A receipt could hold an option in its place.
    name: str = Field(pattern=r"^[a-z_][a-z0-9_-]*$")

    def summary(self) -> str:
        """Say what it does."""
        return f"create system group {self.name}"

    def paths(self) -> tuple[str, ...]:
        """It works through groupadd, on no path of its own."""
        return ()

    def inspect(self, host: Host) -> Inspection:
        """Look the group up."""
        number = host.accounts.group_id(self.name)
        if number is None:
            return Inspection(state=State.ABSENT, evidence="no such group")
        return Inspection(state=State.PRESENT, evidence=f"number {number}")

    def capture(self, host: Host) -> Record:
        """Nothing is there before."""
        return {"existed": host.accounts.group_id(self.name) is not None}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Make it."""
        self._call(host, "groupadd", "--system", allowed=_NAME_TAKEN)
        return {}

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Remove it if it was not there before."""
        if not before.get("existed"):
            self._call(host, "groupdel", allowed=_NO_SUCH_GROUP)
        return Reverted()

    def _call(self, host: Host, program: str, *options: str, allowed: int) -> None:
        root = ["--prefix", host.root] if host.is_image else []
        if host.is_image:
            self._require_plain_files(host)
        command = [program, *root, *options, self.name]
        done = host.processes.run(command, timeout=_TIMEOUT, undisturbed=True)
        if done.code not in {0, allowed}:
            raise LocalOpusError(
                f"{program} {self.name}: {done.last_line}", self._remedy(host, program, done.code)
            )

    def _remedy(self, host: Host, program: str, code: int) -> str:
        etc = f"{host.root}/etc" if host.is_image else "/etc"
        done = "Make" if program == "groupadd" else "Remove"
        otherwise = f"{done} the group {self.name} with a tool of your system, then run this again."
        return _REMEDIES.get((program, code), otherwise).format(etc=etc)

    @staticmethod
    def _require_plain_files(host: Host) -> None:
        """Raise LocalOpusError where groupadd would follow a link of an image out of it.

        It puts the image's folder before its paths and opens them as they are; what it opens are
        /etc/group, /etc/gshadow, /etc/login.defs and their locks and backups.
        """
        names = []
        if host.files.real_path("/etc/group") == f"{host.root}/etc/group":
            names = [name for name in host.files.list("/etc") if _OPENED.match(name)]
            names = [n for n in names if (f := host.files.stat(f"/etc/{n}")) and f.kind == "link"]
            if not names:
                return
        where = f"{host.root}/etc/{names[0]}" if names else f"{host.root}/etc"
        raise LocalOpusError(
            f"{where}: a link, which groupadd would follow out of the image",
            "Put a folder or a file in its place and run this again.",
        )
