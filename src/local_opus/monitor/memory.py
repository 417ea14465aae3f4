"""The memory of a server and its engine: of their processes, and of the unit's cgroup.

Formats: VmRSS of proc_pid_status(5), smaps_rollup of proc_pid_smaps(5), memory.* of the kernel's
cgroup-v2.rst. What is closed to this user, or not there, is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from local_opus.host import Host
from local_opus.monitor.sight import Memory

_KIB = 1024
CGROUPS = "/sys/fs/cgroup"


def look(host: Host, pids: Iterable[int], cgroup: str | None) -> Memory:
    """Return the memory of processes, and of a unit's cgroup such as /system.slice/x.service."""
    there = [pid for pid in dict.fromkeys(pids) if pid > 0]
    folder = f"{CGROUPS}{cgroup}" if cgroup and cgroup != "/" and ".." not in cgroup else None
    statistics = _table(_text(host, f"{folder}/memory.stat")) if folder else {}
    return Memory(
        rss_bytes=_sum(_kib(_text(host, f"/proc/{pid}/status"), "VmRSS") for pid in there),
        pss_bytes=_sum(_kib(_text(host, f"/proc/{pid}/smaps_rollup"), "Pss") for pid in there),
        current_bytes=_bytes(host, folder, "memory.current"),
        anonymous_bytes=statistics.get("anon"),
        peak_bytes=_bytes(host, folder, "memory.peak"),
        limit_bytes=_bytes(host, folder, "memory.max"),
    )


def _text(host: Host, path: str) -> str:
    try:
        return host.files.read_text(path, 64 * 1024)
    except OSError:  # ended since, closed to this user, or a kernel without it
        return ""


def _sum(values: Iterable[int | None]) -> int | None:
    """Return the sum; None where one is not known: half of a server's memory is no figure."""
    known = [*values]
    return sum(one or 0 for one in known) if known and None not in known else None


def _kib(text: str, name: str) -> int | None:
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [f"{name}:"] and len(words) > 1 and words[1].isdecimal():
            return int(words[1]) * _KIB
    return None


def _bytes(host: Host, folder: str | None, name: str) -> int | None:
    text = _text(host, f"{folder}/{name}").strip() if folder else ""
    return int(text) if text.isdecimal() else None  # "max": no limit


def _table(text: str) -> Mapping[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}  # noqa: PLR2004
