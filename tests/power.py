"""A disk that forgets what was not synced: what a power loss leaves, below the root of a host.

Durable are a file's bytes as of its last fsync or fdatasync, and what a folder lists as of the
folder's own last fsync. Of what came later, anything may have reached the disk too: each page of
4 KiB by itself, and the names as they were at any later moment (a journal keeps their order).
Inodes and times survive, as those of files that were renamed into their place do: they are what a
quick verification believes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from local_opus.host import Host
from local_opus.host.files import Files
from local_opus.host.reading import FileStat
from syscalls import LISTED, Call, watched

PAGE = 4096
#: What a machine makes anew when it boots.
BOOT_ID = "/proc/sys/kernel/random/boot_id"

#: What each folder lists: inodes by name, by the folder's own inode.
Lists = Mapping[int, Mapping[str, int]]


class PowerCutError(BaseException):
    """The power is gone: this call, and every later one, does nothing."""


@dataclass
class _Node:
    """A file or folder that lives as long as anything may still name it."""

    descriptor: int
    is_folder: bool
    #: The bytes, or what it lists, as of the last sync.
    data: bytes = b""
    names: dict[str, int] = field(default_factory=dict)

    def read(self) -> bytes:
        with Path(f"/proc/self/fd/{self.descriptor}").open("rb") as stream:
            return stream.read()


class PowerHost(Host):
    """A host on such a disk. ``boots`` counts how often it was started."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        root.mkdir(exist_ok=True)
        super().__init__(str(root), environ)
        self.files = _Files(str(root))
        self._nodes: dict[int, _Node] = {}
        self._history: list[Lists] = []
        self.boots = 0
        self.restart()

    def close(self) -> None:
        """Let go of what is no longer named."""
        for node in self._nodes.values():
            os.close(node.descriptor)
        self._nodes.clear()

    def restart(self) -> None:
        """Shut down in order and start again: all is on the disk."""
        self.boots += 1
        self.files.make_folders(BOOT_ID.rpartition("/")[0])
        self.files.write_atomic(BOOT_ID, f"boot {self.boots}\n".encode())
        self.close()
        for inode, names in self._lists().items():
            self._nodes[inode].names = dict(names)
        for node in self._nodes.values():
            if not node.is_folder:
                node.data = node.read()
        self._history = [self._lists()]

    # -- while it runs ----------------------------------------------------------------------------

    def run(self, call: Callable[[], object], cut_at: int | None = None) -> int:
        """Call it, without power from the system call of that number on; return how many it made.

        Raises PowerCutError where it was cut, and what the call raises.
        """
        made = 0
        gone = False

        def before(_: Call) -> None:
            nonlocal made, gone
            gone = gone or made == cut_at
            if gone:
                raise PowerCutError
            made += 1

        with watched(self.root, before, self._after):
            call()
        return made

    def _after(self, call: Call) -> None:
        if call.is_sync and call.descriptor is not None:
            self._sync(call.descriptor)
        elif call.name in LISTED:
            self._history.append(self._lists())

    def _sync(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        lists = self._lists()
        node = self._nodes.get(inode)
        if node is None:  # a file without a name
            return
        if node.is_folder:
            node.names = dict(lists[inode])
            self._history = [lists]
        else:
            node.data = node.read()

    def _lists(self) -> Lists:
        """Return what all folders list now, and keep every inode that is named."""
        found: dict[int, dict[str, int]] = {}
        pending = [self.root]
        self._node(self.root)
        while pending:
            path = pending.pop()
            names = {}
            with os.scandir(path) as entries:
                for entry in entries:
                    names[entry.name] = entry.inode()
                    self._node(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
            found[os.stat(path).st_ino] = names
        return found

    def _node(self, path: str) -> None:
        itself = os.stat(path, follow_symlinks=False)
        if itself.st_ino not in self._nodes:
            descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._nodes[itself.st_ino] = _Node(descriptor, stat.S_ISDIR(itself.st_mode))

    # -- the loss ---------------------------------------------------------------------------------

    def lose_power(self, random: Random) -> None:
        """Leave on the disk what a power loss at this moment leaves, and start again."""
        synced = {inode: node.names for inode, node in self._nodes.items() if node.is_folder}
        lists = random.choice([synced, random.choice(self._history)])
        survives = random.choice([0.0, 0.5, 1.0])
        contents = {
            inode: _torn(random, node.data, node.read(), survives)
            for inode, node in sorted(self._nodes.items())
            if not node.is_folder
        }
        stats = {inode: os.fstat(node.descriptor) for inode, node in self._nodes.items()}
        top = os.stat(self.root).st_ino
        _clear(self.root)
        self.files.virtual = {}
        self._put(self.root, top, lists, contents, stats)
        self.restart()

    def _put(
        self,
        path: str,
        inode: int,
        lists: Lists,
        contents: Mapping[int, bytes],
        stats: Mapping[int, os.stat_result],
    ) -> None:
        for name, child in lists.get(inode, {}).items():
            below = os.path.join(path, name)
            if child not in contents:
                Path(below).mkdir()
                self._put(below, child, lists, contents, stats)
                continue
            Path(below).write_bytes(contents[child])
            Path(below).chmod(stat.S_IMODE(stats[child].st_mode))
            if not name.endswith(".lock"):  # who holds one compares inodes by descriptor
                self.files.virtual[os.stat(below).st_ino] = (os.stat(below), stats[child])


class _Files(Files):
    """Files whose inodes and times are those from before the loss, until they change."""

    virtual: dict[int, tuple[os.stat_result, os.stat_result]]

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.virtual = {}

    def stat(self, path: str, *, follow: bool = False) -> FileStat | None:
        found = super().stat(path, follow=follow)
        if found is None or found.inode not in self.virtual:
            return found
        real, before = self.virtual[found.inode]
        if (found.ctime_ns, found.size) != (real.st_ctime_ns, real.st_size):
            return found
        return replace(
            found, inode=before.st_ino, mtime_ns=before.st_mtime_ns, ctime_ns=before.st_ctime_ns
        )


def _torn(random: Random, synced: bytes, written: bytes, survives: float) -> bytes:
    """Return the synced bytes with some of the pages that were written later."""
    size = random.choice([len(synced), len(written)])
    pages = []
    for start in range(0, size, PAGE):
        source = written if random.random() < survives else synced
        pages.append(source[start : start + PAGE].ljust(min(PAGE, size - start), b"\0"))
    return b"".join(pages)


def _clear(root: str) -> None:
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files:
            Path(folder, name).unlink()
        for name in folders:
            Path(folder, name).rmdir()


@contextmanager
def powered(root: Path, environ: Mapping[str, str]) -> Iterator[PowerHost]:
    """Give a host on such a disk."""
    host = PowerHost(root, environ)
    try:
        yield host
    finally:
        host.close()
