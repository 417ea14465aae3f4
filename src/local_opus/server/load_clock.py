"""Whether an engine that loads a model still gets on, by what the kernel says of its process.

A large model on a slow disk may take as long as it takes: what is read is progress. So is what is
computed (a GPU's programs are compiled for minutes), but not for ever: a loop computes too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class _Signs:
    """What grew: reads and page faults from disk, and ticks of the processor's time."""

    read: int
    computed: int


def _signs(pid: int) -> _Signs | None:
    """Return the signs of a process (proc_pid_stat(5), proc_pid_io(5)); None: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    faults, ticks = int(fields[9]), int(fields[11]) + int(fields[12])
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as stream:
            faults += int(stream.readline().split()[1])  # rchar: bytes that read(2) returned
    except (OSError, ValueError, IndexError):
        pass  # no such file, or not for us: page faults tell of mapped files all the same
    return _Signs(faults, ticks)


class LoadClock:
    """The time limits of one load.

    ``longest`` are the seconds that it may compute since it last read something, ``stall`` those
    in which nothing need happen at all.
    """

    def __init__(self, pid: int, *, longest: float, stall: float) -> None:
        self._pid = pid
        self._longest, self._stall = longest, stall
        self._seen = _Signs(-1, -1)
        self._read_at = self._moved_at = time.monotonic()

    def heard(self) -> None:
        """Take a message of the engine for progress."""
        self._read_at = self._moved_at = time.monotonic()

    def overdue(self) -> str | None:
        """Say why the load is given up; None: it gets on. Ask every second or so."""
        now, signs = time.monotonic(), _signs(self._pid)
        if signs is not None:
            if signs.read > self._seen.read:
                self._read_at = now
            if signs != self._seen:
                self._moved_at = now
            self._seen = signs
        if now - self._moved_at > self._stall:
            return f"it neither read nor computed anything for {self._stall:g} s of loading"
        if now - self._read_at > self._longest:
            return f"it computed for {self._longest:g} s of loading and was not done"
        return None
