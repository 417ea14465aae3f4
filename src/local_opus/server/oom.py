"""Whether the kernel ended a process for lack of memory, by the counters of this control group."""

from __future__ import annotations

from dataclasses import dataclass

#: Where the unified hierarchy, and the memory controller of the older one, are mounted.
UNIFIED, LEGACY = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"
#: Which groups this process is in, cgroups(7).
OWN = "/proc/self/cgroup"
_MIB = 1 << 20
#: What the older hierarchy says where there is no limit (the largest page-aligned number), about.
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Kills:
    """How many processes of the group were ended so, and where that stands."""

    count: int
    path: str
    #: Bytes that the group may take; None: no limit of its own.
    limit: int | None


def kills() -> Kills | None:
    """Return the counter of this process's group; None: it can't be read."""
    try:
        with open(OWN, encoding="utf-8", errors="replace") as stream:
            groups = [line.rstrip("\n").split(":", 2) for line in stream]
    except OSError:
        return None
    for number, controllers, group in groups:
        if "memory" in controllers.split(","):
            folder = f"{LEGACY}{group}".rstrip("/")
            found = _read(f"{folder}/memory.oom_control", f"{folder}/memory.limit_in_bytes")
        elif number == "0":
            folder = f"{UNIFIED}{group}".rstrip("/")
            found = _read(f"{folder}/memory.events", f"{folder}/memory.max")
        else:
            continue
        if found is not None:
            return found
    return None


def explain(before: Kills | None) -> str:
    """Say whether a SIGKILL that nobody here sent was the kernel's; ``before`` is the counter."""
    now = kills()
    if now is None:
        return "nobody here sent that; the kernel does where memory lacks"
    if before is not None and now.path == before.path and now.count <= before.count:
        return f"nobody here sent that, and by {now.path} it was not for lack of memory"
    limit = "" if now.limit is None else f" of {now.limit // _MIB} MiB"
    return (
        f"the kernel's memory limit{limit}: oom_kill in {now.path} "
        f"went from {before.count if before else 0} to {now.count}"
    )


def _read(counter: str, limit: str) -> Kills | None:
    try:
        with open(counter, encoding="ascii") as stream:
            fields = dict(line.split()[:2] for line in stream if " " in line)
        with open(limit, encoding="ascii") as stream:
            most = stream.read().strip()
        count = int(fields["oom_kill"])
    except (OSError, KeyError, ValueError):
        return None
    bounded = most.isdecimal() and int(most) < _NO_LIMIT
    return Kills(count, counter, int(most) if bounded else None)
