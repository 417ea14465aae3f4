"""Memory: /proc/meminfo and the memory limits of the cgroups."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.errors import MachineCannotError
from local_opus.facts import cgroup, reading
from local_opus.host import Host
from local_opus.values import MemoryFacts

_LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
#: cgroup v1 has no word for "no limit": it shows the largest whole number of pages in 63 bits
#: (9223372036854771712 with 4 KiB pages, Linux mm/page_counter.c). No real limit comes near.
_V1_NO_LIMIT = 1 << 62
_LINE = re.compile(r"^(\w+):\s+(\d+) kB\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Raw:
    """The texts: /proc/meminfo and each limit file that was there."""

    meminfo: str | None
    limits: tuple[str, ...]


def read(host: Host) -> Raw:
    """Read meminfo and the limits of this process's cgroups."""
    limits = (
        reading.text(host, f"{folder.path}/{_LIMIT_FILES[folder.version]}")
        for folder in cgroup.read_folders(host, "memory")
    )
    return Raw(
        meminfo=reading.text(host, "/proc/meminfo"),
        limits=tuple(limit for limit in limits if limit is not None),
    )


def parse(raw: Raw) -> MemoryFacts:
    """Return the memory facts.

    Raises MachineCannotError when meminfo does not state the total: every choice of a model
    rests on it, so it is never guessed.
    """
    lines = {name: int(number) * 1024 for name, number in _LINE.findall(raw.meminfo or "")}
    total = lines.get("MemTotal", 0)
    if total <= 0:
        raise MachineCannotError(
            "/proc/meminfo does not state MemTotal, so the memory of this machine is unknown",
            "Mount /proc (`mount -t proc proc /proc`) and run this again.",
        )
    # Kernels before 3.14 lack MemAvailable; free memory is the safe side of it.
    available = lines.get("MemAvailable", lines.get("MemFree", 0))
    limits = [int(limit) for limit in map(str.strip, raw.limits) if limit.isdecimal()]
    return MemoryFacts(
        total=total,
        available=min(available, total),
        cgroup_limit=min((limit for limit in limits if limit < _V1_NO_LIMIT), default=None),
    )
