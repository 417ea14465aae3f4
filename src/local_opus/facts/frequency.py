"""How fast the cores may run and what held them back: cpufreq and thermal_throttle in sysfs.

Virtual machines and many servers have none of these files; then nothing is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from local_opus.facts import reading
from local_opus.host import Host

_CPU = "/sys/devices/system/cpu"
_KHZ_PER_MHZ = 1000


@dataclass(frozen=True)
class Raw:
    """The words of each file that was there; ``throttled`` is (core, count) of each thread."""

    max_khz: tuple[int, ...] = ()
    drivers: tuple[str, ...] = ()
    governors: tuple[str, ...] = ()
    throttled: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Frequency:
    """Fields of CpuFacts."""

    max_mhz: int | None = None
    scaling_driver: str | None = None
    governors: tuple[str, ...] = field(default=())
    throttled: int | None = None


def read(host: Host, threads: Iterable[tuple[int, str]]) -> Raw:
    """Read the files of ``threads``: the number of each, and what names its core."""
    khz: list[int] = []
    words: dict[str, list[str]] = {"scaling_driver": [], "scaling_governor": []}
    throttled: list[tuple[str, int]] = []
    for number, core in threads:
        folder = f"{_CPU}/cpu{number}"
        if (found := reading.number(host, f"{folder}/cpufreq/cpuinfo_max_freq")) is not None:
            khz.append(found)
        for name, said in words.items():
            if (word := reading.word(host, f"{folder}/cpufreq/{name}")) is not None:
                said.append(word)
        count = reading.number(host, f"{folder}/thermal_throttle/core_throttle_count")
        if count is not None:
            throttled.append((core, count))
    return Raw(
        tuple(khz), tuple(words["scaling_driver"]), tuple(words["scaling_governor"]),
        tuple(throttled),
    )  # fmt: skip


def parse(raw: Raw) -> Frequency:
    """Return what is told. The threads of one core count its throttling twice; it counts once."""
    cores: dict[str, int] = {}
    for core, count in raw.throttled:
        cores[core] = max(count, cores.get(core, 0))
    fastest = max(raw.max_khz, default=0) // _KHZ_PER_MHZ
    return Frequency(
        max_mhz=fastest or None,
        scaling_driver=raw.drivers[0] if raw.drivers else None,
        governors=tuple(sorted(set(raw.governors))),
        throttled=sum(cores.values()) if cores else None,
    )
