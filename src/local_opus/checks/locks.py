"""Whether a run holds a lock for so long, or in such a state, that it looks stuck.

The kernel drops a lock with its process, so a lock is never stale; its holder may be stuck.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from local_opus.checks.base import Answer, Check, Group, advise, passed, warned
from local_opus.checks.context import Context
from local_opus.facts import reading
from local_opus.host import Host, locks
from local_opus.weights.orphans import LOCK
from local_opus.weights.store import PARTIAL, list_models

#: Hours after which a holder is named; a download of 100 GiB at 10 MiB/s takes three.
_LONG_HOURS = 6
_HOUR = 3600.0
#: State letters of proc_pid_stat(5): stopped by a signal or a debugger, dead and not waited for.
_STUCK = {"T": "stopped", "t": "stopped by a debugger", "Z": "dead, not waited for"}


@dataclass(frozen=True)
class _Held:
    path: str
    pid: int | None
    seconds: float


def ask(context: Context) -> Answer:
    """Look at the lock of the install and those of the store."""
    host, locations = context.host, context.locations
    paths = [locations.lock]
    for model in list_models(host, locations.models):
        folder = f"{locations.models}/{model}/{PARTIAL}"
        paths += [f"{folder}/{name}" for name in reading.names(host, folder) if name.endswith(LOCK)]
    held = [one for one in (_look(host, path) for path in paths) if one is not None]
    for one in held:
        why = _why_stuck(host, one)
        if why is not None:
            kill = [f"kill {one.pid}"] if one.pid else []
            return warned(
                f"{one.path}: held by PID {one.pid or 'unknown'} {why}",
                advise("Wait for it, or end it; its work is resumable.", *kill),
            )
    if held:
        one = held[0]
        return passed(f"a run is at work (PID {one.pid}, for {one.seconds:.0f} s)")
    return passed("no run is at work")


def _look(host: Host, path: str) -> _Held | None:
    try:
        if not locks.is_held(host.files, path):
            return None
        found = host.files.stat(path)
        text = host.files.read_text(path, 32).strip()
    except OSError:  # not there, or closed to this user
        return None
    now = datetime.fromisoformat(host.now()).timestamp()
    since = found.mtime_ns / 1e9 if found is not None else now  # its holder wrote its PID then
    return _Held(path, int(text) if text.isdecimal() else None, max(0.0, now - since))


def _why_stuck(host: Host, held: _Held) -> str | None:
    state = ""
    if held.pid is not None:
        try:
            text = host.files.read_text(f"/proc/{held.pid}/stat", 1024)
            state = text.rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            state = ""
    if state in _STUCK:
        return f"({_STUCK[state]}) for {held.seconds:.0f} s"
    if held.seconds > _LONG_HOURS * _HOUR:
        return f"for {held.seconds / _HOUR:.0f} hours"
    return None


CHECK = Check("locks", "locks", Group.INSTALL, ask)
