"""Modes and owners of the files below a root."""

from __future__ import annotations

import os

from local_opus.host.reading import FileStat, Reading

#: What an owner needs to look at what is his and to take it back, by kind.
_OWNERS = {"file": 0o400, "folder": 0o700}


class Rights(Reading):
    """Who may do what with the files below the root. Raises OSError as the system call does."""

    def set_mode(self, path: str, mode: int, *, follow: bool = False) -> None:
        """Set the permission bits of a file or folder, also where its owner can't open it.

        ``follow``: of what a link there leads to.
        """
        itself = os.O_NOFOLLOW | os.O_CLOEXEC
        target: int | str
        with self._at(path, follow=follow) as (parent, name):
            try:
                target = descriptor = os.open(
                    name, os.O_RDONLY | os.O_NONBLOCK | itself, dir_fd=parent
                )
            except PermissionError:
                descriptor = os.open(name, os.O_PATH | itself, dir_fd=parent)
                target = f"/proc/self/fd/{descriptor}"  # which is no longer a name to exchange
        try:
            os.chmod(target, mode)
        finally:
            os.close(descriptor)

    def set_owner(self, path: str, uid: int, gid: int, *, follow: bool = False) -> None:
        """Set the owner of a file, folder or link itself; ``follow``: of what a link leads to."""
        with self._at(path, follow=follow) as (parent, name):
            os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)

    @staticmethod
    def is_closed(found: FileStat) -> bool:
        """Tell whether a file or folder of this user's own has a mode that stops himself."""
        needed = _OWNERS.get(found.kind, 0)
        return found.uid == os.geteuid() and found.mode & needed != needed

    def others_hand(self, path: str) -> str | None:
        """Say who but root may change what root is to believe; None: nobody, or this is not root.

        Of an image nothing is believed, whoever its files belong to here.
        """
        found = self.stat(path, follow=True)
        if self.is_image or os.geteuid() != 0 or found is None:
            return None
        if found.uid != 0:
            return f"user {found.uid} owns it"
        by_group = found.mode & 0o020 and found.gid != 0
        return "others may write it" if by_group or found.mode & 0o002 else None

    def open_up(self, path: str, *, follow: bool = False) -> None:
        """Give this user what he needs of a closed file or folder of his own."""
        found = self.stat(path, follow=follow)
        if found is not None and self.is_closed(found):
            self.set_mode(path, found.mode | _OWNERS[found.kind], follow=follow)

    def open_all(self, path: str) -> None:
        """Open up ``path`` and all below it."""
        self.open_up(path)
        if (found := self.stat(path)) is not None and found.kind == "folder":
            for name, _ in self.walk(path, folders=True):  # a folder is listed after it was opened
                self.open_up(f"{path}/{name}")
