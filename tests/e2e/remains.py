"""What a machine holds of this one: control groups and a folder; and how both are taken away."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_STOP_SECONDS = 30.0
_POLL = 0.05


def clean_up(folder: Path) -> None:
    """Remove what machines of tests that were killed have left; those of running tests stay."""
    runs = folder / "run"
    for left in runs.iterdir() if runs.is_dir() else ():
        lock = left / "lock"
        if not lock.exists():
            if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
                remove(left)
            continue
        with open(lock, "rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            remove(left)


def own_groups(name: str) -> list[Path]:
    """Return the control groups of the machine whose folder has this name."""
    roots = [_GROUPS]
    if (_GROUPS / "unified").is_dir():  # version 2 beside version 1
        roots = [_GROUPS / "unified", _GROUPS / "systemd"]
    return [root / f"local-opus-e2e-{name}" for root in roots]


def remove(folder: Path) -> None:
    """Remove a machine's folder and control groups, and end what is left in those."""
    for group in own_groups(folder.name):
        deadline = time.monotonic() + _STOP_SECONDS
        while group.is_dir() and time.monotonic() < deadline:
            for below, _, files in os.walk(group, topdown=False):
                with suppress(OSError):  # processes in it are still ending
                    os.rmdir(below)
                if "cgroup.procs" in files and group.is_dir():
                    _end_all(Path(below))
            time.sleep(_POLL)
    if folder.exists():
        shutil.rmtree(folder)


def _end_all(group: Path) -> None:
    """End what is left in a machine's control group: nothing but the machine is ever in it."""
    with suppress(OSError):
        for number in (group / "cgroup.procs").read_text().split():
            os.kill(int(number), signal.SIGKILL)
