"""Where tests write: into memory, where there is room. Disks are slow to forget what was synced.

A folder is locked while its process lives. What a killed one left is removed by the next: memory is
not freed by itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local_opus.facts import memory
from local_opus.host import Host

_FOLDER = Path("/dev/shm")
_PREFIX = "local-opus-of-tests-"
_locks: dict[Path, int] = {}


def has_room(size: int) -> bool:
    """Tell whether programs can lie and run there, and ``size`` bytes leave as much for others."""
    if not os.access(_FOLDER, os.W_OK) or os.statvfs(_FOLDER).f_flag & os.ST_NOEXEC:
        return False
    facts = memory.parse(memory.read(Host("/", dict(os.environ))))
    free = min(facts.available, facts.cgroup_limit or facts.available)
    return free >= 2 * size and shutil.disk_usage(_FOLDER).free >= size


def new_folder(size: int) -> Path:
    """Make a folder for about ``size`` bytes, in memory or else where temporary files lie."""
    with _alone():  # nobody else may take a new one for abandoned
        _remove_abandoned()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_FOLDER if has_room(size) else None))
        _lock(folder)
    return folder


def remove(folder: Path) -> None:
    """Remove such a folder, whatever modes tests have left in it.

    What a process that is about to end still writes there, the next run removes.
    """
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    os.close(_locks.pop(folder))


@contextmanager
def _alone() -> Iterator[None]:
    descriptor = os.open(_FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    _locks[folder] = descriptor
    return True


def _remove_abandoned() -> None:
    for folder in _FOLDER.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # its own process has just removed it
            if folder.lstat().st_uid == os.geteuid() and _lock(folder):
                remove(folder)
