"""The processor: /proc/cpuinfo, its topology in sysfs, affinity and the cgroups' quota.

This reads what py-cpuinfo reads on Linux, in milliseconds instead of a second. Where
/proc/cpuinfo names no processor (Arm, some sandboxes), ``gather`` has the probe's worker ask
py-cpuinfo beside OpenVINO and hands its answer to ``parse``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from local_opus.errors import MachineCannotError
from local_opus.facts import cgroup, frequency, reading
from local_opus.host import Host
from local_opus.values import CpuFacts

#: Words of the kernel (Linux arch/x86/include/asm/cpufeatures.h), in the order they are shown.
ISA = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
       "amx_tile", "amx_int8", "amx_bf16")  # fmt: skip
#: Kinds of cores of a hybrid processor as the kernel's performance counters name them (Linux
#: arch/x86/events/intel/core.c); cpu_lowpower are the low-power efficiency cores.
_PERFORMANCE = "cpu_core"
_EFFICIENCY = ("cpu_atom", "cpu_lowpower")
_CPU = "/sys/devices/system/cpu"
_NO_PACE = frequency.Raw()


@dataclass(frozen=True)
class Thread:
    """One online thread in sysfs: its core's threads and its package, None where not told."""

    number: int
    core: str | None
    package: str | None


@dataclass(frozen=True)
class Raw:
    """The texts, None where a file is missing; ``quotas`` are (quota, period) or one v2 line."""

    cpuinfo: str | None
    machine: str | None
    online: str | None
    threads: tuple[Thread, ...]
    kinds: dict[str, str]
    status: str | None
    quotas: tuple[str, ...]
    pace: frequency.Raw = _NO_PACE


@dataclass(frozen=True)
class Named:
    """What py-cpuinfo says; empty words where it does not know."""

    model: str = ""
    vendor: str = ""
    architecture: str = ""
    flags: frozenset[str] = frozenset()


def read(host: Host) -> Raw:
    """Read the processor's files."""
    online = reading.text(host, f"{_CPU}/online")
    kinds = {name: reading.text(host, f"/sys/devices/{name}/cpus")
             for name in (_PERFORMANCE, *_EFFICIENCY)}  # fmt: skip
    threads = tuple(_thread(host, number) for number in sorted(reading.cpu_list(online) or ()))
    machine = reading.text(host, "/proc/sys/kernel/arch")
    return Raw(
        cpuinfo=reading.text(host, "/proc/cpuinfo"),
        # The file is of Linux 6.1, and hidden where /proc is.
        machine=host.kernel.machine() if machine is None else machine,
        online=online,
        threads=threads,
        kinds={name: cpus for name, cpus in kinds.items() if cpus is not None},
        status=reading.text(host, "/proc/self/status"),
        quotas=tuple(_quotas(host)),
        pace=frequency.read(
            host, ((one.number, f"{one.package} {one.core or one.number}") for one in threads)
        ),
    )


def _thread(host: Host, number: int) -> Thread:
    topology = f"{_CPU}/cpu{number}/topology"
    return Thread(
        number,
        reading.text(host, f"{topology}/thread_siblings_list"),
        reading.text(host, f"{topology}/physical_package_id"),
    )


def _quotas(host: Host) -> list[str]:
    found = []
    for folder in cgroup.read_folders(host, "cpu"):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if folder.version == 1 else ("cpu.max",)
        texts = [reading.text(host, f"{folder.path}/{name}") for name in names]
        if None not in texts:
            found.append(" ".join(str(text).strip() for text in texts))
    return found


def names_a_processor(raw: Raw) -> bool:
    """Tell whether /proc/cpuinfo names the processor, so that nobody else need be asked."""
    blocks = _blocks(raw.cpuinfo or "")
    return bool(blocks and blocks[0].get("model name") and blocks[0].get("flags"))


def parse(raw: Raw, named: Named = Named()) -> CpuFacts:
    """Return the facts; ``named`` fills in what /proc/cpuinfo does not state.

    Raises MachineCannotError when no file tells how many cores there are.
    """
    blocks = _blocks(raw.cpuinfo or "")
    online = reading.cpu_list(raw.online)
    logical = len(online) if online else len(blocks)
    if logical == 0:
        raise MachineCannotError(
            f"neither {_CPU}/online nor /proc/cpuinfo tells how many cores there are",
            "Mount /proc and /sys and run this again.",
        )
    first = blocks[0] if blocks else {}
    cores, packages = _topology(raw.threads, blocks)
    flags = [frozenset(block["flags"].split()) for block in blocks if "flags" in block]
    common = frozenset.intersection(*flags) if flags else named.flags
    return CpuFacts(
        model=reading.one_line(first.get("model name") or named.model) or "unknown",
        vendor=first.get("vendor_id") or named.vendor or "unknown",
        architecture=_architecture(raw, first) or named.architecture or "unknown",
        sockets=len(packages) or 1,
        physical_cores=len(set(cores.values())) or logical,
        logical_cores=logical,
        usable_cores=_usable(raw, logical),
        performance_cores=_of_kinds(raw, cores, (_PERFORMANCE,)),
        efficiency_cores=_of_kinds(raw, cores, _EFFICIENCY),
        isa=tuple(word for word in ISA if word in common),
        **asdict(frequency.parse(raw.pace)),
    )


def _blocks(cpuinfo: str) -> list[dict[str, str]]:
    """Return one block for each thread; blocks of other things (Arm's last one) are left out."""
    blocks = []
    for paragraph in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        block = {name.strip(): value.strip() for name, colon, value in pairs if colon}
        if block.get("processor", "").isdecimal():
            blocks.append(block)
    return blocks


def _architecture(raw: Raw, block: dict[str, str]) -> str:
    # "lm", long mode, is a flag of x86-64 processors and of no others.
    long_mode = "lm" in block.get("flags", "").split()
    return (raw.machine or "").strip() or ("x86_64" if long_mode else "")


def _topology(
    threads: tuple[Thread, ...], blocks: list[dict[str, str]]
) -> tuple[dict[int, tuple[str, str]], set[str]]:
    """Return the core of each thread, as a key, and the packages."""
    cores = {thread.number: (thread.package or "", thread.core) for thread in threads
             if thread.core is not None}  # fmt: skip
    if not cores:
        cores = {int(block["processor"]): (block.get("physical id", ""), block["core id"])
                 for block in blocks if "core id" in block}  # fmt: skip
    return cores, {package for package, _ in cores.values()}


def _of_kinds(raw: Raw, cores: dict[int, tuple[str, str]], kinds: tuple[str, ...]) -> int | None:
    if _PERFORMANCE not in raw.kinds or not any(kind in raw.kinds for kind in _EFFICIENCY):
        return None
    lists = [reading.cpu_list(raw.kinds.get(kind)) or frozenset() for kind in kinds]
    numbers: frozenset[int] = frozenset().union(*lists)
    return len({cores.get(number, ("", str(number))) for number in numbers})


def _usable(raw: Raw, logical: int) -> float:
    usable = float(logical)
    for line in (raw.status or "").splitlines():
        name, _, value = line.partition(":")
        if name == "Cpus_allowed_list" and (allowed := reading.cpu_list(value)):
            # It also names threads that are offline, up to the most the kernel could have.
            seen = allowed & (reading.cpu_list(raw.online) or allowed)
            usable = min(usable, float(len(seen))) if seen else usable
    for text in raw.quotas:
        quota, _, period = text.partition(" ")  # v2 says "max", v1 -1 where there is no quota
        too_long = max(len(quota), len(period)) > reading.MAX_DIGITS
        if quota.isdecimal() and period.isdecimal() and not too_long and int(period) > 0:
            usable = min(usable, int(quota) / int(period))
    return usable
