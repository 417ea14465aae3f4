"""Whether the processor is slowed for its heat, now or since the boot."""

from __future__ import annotations

import re
import time

from local_opus.checks.base import Answer, Check, Group, NotApplicableError, advise, passed, warned
from local_opus.checks.context import Context
from local_opus.facts import reading
from local_opus.host import Host

_CPU = "/sys/devices/system/cpu"
_NUMBERED = re.compile(r"cpu\d+")
#: Events since the boot (Linux drivers/thermal/intel/therm_throt.c).
_COUNTERS = ("core_throttle_count", "package_throttle_count")
#: Seconds between two looks.
_BETWEEN = 0.5


def ask(context: Context) -> Answer:
    """Count the events twice, half a second apart."""
    first = _count(context.host)
    if first is None:
        raise NotApplicableError("the kernel counts no throttling here")
    time.sleep(_BETWEEN)
    second = _count(context.host) or first
    rise = second - first
    if rise > 0:
        return warned(
            f"slowed {rise} times within {_BETWEEN} s, {second} times since the boot",
            advise("Clean fans and vents, free them, or give this machine less to do."),
        )
    if second:
        return passed(f"slowed {second} times since the boot, not within these {_BETWEEN} s")
    return passed("never slowed since the boot")


def _count(host: Host) -> int | None:
    """Return the events of all cores; None where none is counted.

    A package is counted at each of its cores: the highest of each kind is enough to see a rise.
    """
    cores, package, seen = 0, 0, False
    for name in reading.names(host, _CPU):
        if not _NUMBERED.fullmatch(name):
            continue
        for counter in _COUNTERS:
            number = reading.number(host, f"{_CPU}/{name}/thermal_throttle/{counter}")
            if number is None:
                continue
            seen = True
            if counter == _COUNTERS[0]:
                cores += number
            else:
                package = max(package, number)
    return cores + package if seen else None


CHECK = Check("throttling", "thermal throttling", Group.MACHINE, ask)
