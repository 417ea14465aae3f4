"""Users and groups of the machine (of the root's own files, where a root is given)."""

from __future__ import annotations

import os
import pwd

from local_opus.host.files import Files


class Accounts:
    """Reads /etc/group of the root: an image's groups are not this machine's."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @staticmethod
    def own_name() -> str | None:
        """Return the name of the user that runs this; None: the machine has none for the number."""
        try:
            return pwd.getpwuid(os.geteuid()).pw_name  # asks what else knows users, too: LDAP
        except KeyError:
            return None

    def group_id(self, name: str) -> int | None:
        """Return a group's number, None where there is no such group."""
        try:
            lines = self._files.read_text("/etc/group").splitlines()
        except FileNotFoundError:
            return None
        for line in lines:
            fields = line.split(":")
            if len(fields) > 2 and fields[0] == name and fields[2].isdecimal():  # noqa: PLR2004 - name:password:number
                return int(fields[2])
        return None
