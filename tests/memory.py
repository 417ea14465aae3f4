"""Where tests write: into memory, where there is room. Disks are slow to forget what was synced."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from local_opus.facts import memory
from local_opus.host import Host

_FOLDER = "/dev/shm"


def has_room(size: int) -> bool:
    """Tell whether programs can lie and run there, and ``size`` bytes leave as much for others."""
    if not os.access(_FOLDER, os.W_OK) or os.statvfs(_FOLDER).f_flag & os.ST_NOEXEC:
        return False
    facts = memory.parse(memory.read(Host("/", dict(os.environ))))
    free = min(facts.available, facts.cgroup_limit or facts.available)
    return free >= 2 * size and shutil.disk_usage(_FOLDER).free >= size


def new_folder(size: int) -> Path:
    """Make a folder for about ``size`` bytes, in memory or else where temporary files lie."""
    where = _FOLDER if has_room(size) else None
    return Path(tempfile.mkdtemp(prefix="local-opus-tests-", dir=where))


def remove(folder: Path) -> None:
    """Remove such a folder, whatever modes tests have left in it."""
    subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)
    shutil.rmtree(folder)
