"""A machine's own disk: an ext4 file system in a sparse file, so that its power can be cut.

A machine that lay on this machine's file system would keep all that it ever wrote, whatever ends
it: the page cache is ours. Here the file system is shut down in the middle (FS_IOC_SHUTDOWN), and
what the machine had not brought to its disk is gone when that is mounted again.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import struct
import subprocess
import time
from pathlib import Path

from lab import LabError

#: Bytes. Sparse: this much is never taken. Two installs and a checkout's environment need 2.5 GiB.
SIZE = 6 * 1024**3
_FS_IOC_SHUTDOWN = 0x8004587D  # linux/fs.h (older headers: EXT4_IOC_SHUTDOWN)
_NO_LOG_FLUSH = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH: not even the journal's last words are written
_RELEASE_SECONDS = 30.0
_POLL = 0.02


class Disk:
    """One disk, in ``folder``. It is mounted where the machine's processes alone see it."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk"
        self._mounted = folder / "mounted"

    @property
    def upper(self) -> Path:
        """Where the machine's own files lie, in the machine's mount namespace."""
        return self._mounted / "upper"

    @property
    def work(self) -> Path:
        """Overlayfs's own folder, there too."""
        return self._mounted / "work"

    def make(self, content: Path) -> None:
        """Make it with the folders ``upper`` and ``work`` of ``content``."""
        self._mounted.mkdir()
        with open(self.image, "wb"):
            os.truncate(self.image, SIZE)
        _call("mkfs.ext4", "-q", "-F", "-m", "0", "-d", str(content), str(self.image))

    def mount_command(self) -> str:
        """Return the shell command that mounts it; the loop device goes with the last mount."""
        return shlex.join(["mount", "-o", "loop", str(self.image), str(self._mounted)])

    def cut_power(self, process: int) -> None:
        """Lose what was not written; ``process`` is one that sees the mount. Raises OSError."""
        root = os.open(f"/proc/{process}/root{self._mounted}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(root, _FS_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(root)

    def wait_released(self) -> None:
        """Wait until nothing holds it: mounted twice at once it would be destroyed."""
        deadline = time.monotonic() + _RELEASE_SECONDS
        while _call("losetup", "--associated", str(self.image)):
            if time.monotonic() > deadline:
                raise LabError(f"{self.image}: still mounted after {_RELEASE_SECONDS:.0f} s")
            time.sleep(_POLL)


def image_of(tree: Path, image: Path) -> None:
    """Make a file system of ``tree``, to be read alone: it has no journal and no room to spare."""
    with open(image, "wb"):
        os.truncate(image, _image_size(tree))
    _call("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-d", str(tree), str(image))


def _image_size(tree: Path) -> int:
    taken = _call("du", "--summarize", "--block-size=1", str(tree)).split()[0]
    return (int(taken) * 3 // 2 + (64 << 20)) & ~4095  # sparse


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout
