"""The files below a root by which the kernel is told something: sysfs(5), proc_sys(5)."""

from __future__ import annotations

import os

from local_opus.host.rights import Rights


class KernelFiles(Rights):
    """Writes what the kernel reads. Every method raises OSError as the system call does."""

    def tell_kernel(self, path: str, word: bytes) -> None:
        """Write a word into a file that is there, in one call, as a shell's ``echo >`` does.

        Never beside it and renamed: the file is the kernel's. What it refuses is raised by the call
        (EINVAL: no such value; EBUSY, EROFS), and then nothing was changed.
        """
        with self._at(path, follow=True) as (parent, name):
            flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        try:
            os.write(descriptor, word)
        finally:
            os.close(descriptor)
