"""Memory: /proc/meminfo, the memory limits of the cgroups, and transparent huge pages.

Where /proc is hidden (ProcSubset=pid of systemd), the NUMA nodes in sysfs tell the memory, and
sysinfo(2) tells what they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from local_opus.errors import MachineCannotError
from local_opus.facts import cgroup, numa, reading
from local_opus.host import Host, Memory
from local_opus.values import MemoryFacts

_LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
#: cgroup v1 has no word for "no limit": it shows the largest whole number of pages in 63 bits
#: (9223372036854771712 with 4 KiB pages, Linux mm/page_counter.c). No real limit comes near.
_V1_NO_LIMIT = 1 << 62
_LINE = re.compile(r"^(\w+):\s+(\d{1,20})( kB)?\s*$", re.MULTILINE | re.ASCII)
_THP = "/sys/kernel/mm/transparent_hugepage/enabled"
#: The word in use stands in brackets: ``always [madvise] never``.
_CHOSEN = re.compile(r"\[(\w+)\]", re.ASCII)


@dataclass(frozen=True)
class Raw:
    """/proc/meminfo, each limit file that was there, and what stands in for a hidden meminfo."""

    meminfo: str | None
    limits: tuple[str, ...]
    huge: str | None = None
    nodes: tuple[str, ...] = ()
    kernel: Memory | None = None


def read(host: Host) -> Raw:
    """Read meminfo and the limits of this process's cgroups."""
    limits = (
        reading.text(host, f"{folder.path}/{_LIMIT_FILES[folder.version]}")
        for folder in cgroup.read_folders(host, "memory")
    )
    meminfo = reading.text(host, "/proc/meminfo")
    hidden = meminfo is None
    nodes = numa.read(host).nodes if hidden else ()
    return Raw(
        meminfo=meminfo,
        limits=tuple(limit for limit in limits if limit is not None),
        huge=reading.text(host, _THP),
        nodes=tuple(text for _, _, text in nodes if text is not None),
        kernel=host.kernel.memory() if hidden else None,
    )


def parse(raw: Raw) -> MemoryFacts:
    """Return the memory facts.

    Raises MachineCannotError when nothing states the total: every choice of a model rests on it,
    so it is never guessed.
    """
    lines = _lines(raw)
    total = lines.get("MemTotal", 0)
    if total <= 0:
        raise MachineCannotError(
            "/proc/meminfo does not state MemTotal, so the memory of this machine is unknown",
            "Mount /proc (`mount -t proc proc /proc`; in a service of systemd, ProcSubset=all) "
            "and run this again.",
        )
    # Kernels before 3.14 lack MemAvailable; free memory is the safe side of it.
    available = lines.get("MemAvailable", lines.get("MemFree", 0))
    limits = [int(limit) for limit in map(str.strip, raw.limits)
              if limit.isdecimal() and len(limit) <= reading.MAX_DIGITS]  # fmt: skip
    chosen = _CHOSEN.search(raw.huge or "")
    return MemoryFacts(
        total=total,
        available=min(available, total),
        cgroup_limit=min((limit for limit in limits if limit < _V1_NO_LIMIT), default=None),
        swap_total=lines.get("SwapTotal", 0),
        swap_free=lines.get("SwapFree", 0),
        huge_pages=lines.get("HugePages_Total", 0),
        huge_pages_free=lines.get("HugePages_Free", 0),
        huge_page_size=lines.get("Hugepagesize"),
        transparent_huge_pages=chosen[1] if chosen else None,
    )


def _lines(raw: Raw) -> Mapping[str, int]:
    """Return meminfo's lines, sizes in bytes, or what stands in for them."""
    if raw.meminfo is not None:
        return {name: int(number) * (1024 if unit else 1)
                for name, number, unit in _LINE.findall(raw.meminfo)}  # fmt: skip
    found: dict[str, int] = {}
    if raw.kernel is not None:
        found = {"MemTotal": raw.kernel.total, "MemFree": raw.kernel.free,
                 "SwapTotal": raw.kernel.swap_total, "SwapFree": raw.kernel.swap_free}  # fmt: skip
    nodes = [numa.sizes(text) for text in raw.nodes]
    if nodes and all("MemTotal" in node for node in nodes):
        found["MemTotal"] = sum(node["MemTotal"] for node in nodes)
        found["MemAvailable"] = sum(map(_available, nodes))
    return found


def _available(node: Mapping[str, int]) -> int:
    """Return a lower bound: the kernel counts at least half of the files' pages as available."""
    files = node.get("Active(file)", 0) + node.get("Inactive(file)", 0)
    return node.get("MemFree", 0) + files // 2
