"""Which device generates text fastest: by measurement, by published peaks, by rule. Pure.

Each token of an answer reads all weights once, so tokens/s follow the memory's bandwidth. Reading
the prompt is arithmetic: int8 peaks decide between devices that share one memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from local_opus.devices import usable
from local_opus.devices.names import DeviceName
from local_opus.devices.published import Confidence, Figure, npu_peak, platform_of
from local_opus.values import CpuFacts, Device, DeviceFacts, HostFacts, Value

#: The part of a memory's peak bandwidth that generating text is expected to reach. A rule.
SHARE = 0.7
#: GB/s that one processor core is expected to take weights in with: what smollm2-135m's 59 to 68
#: tokens/s come to on one core of an EPYC with two threads (larger models reach more). Cores, not
#: the memory, are the limit of small machines and of containers with few of them.
CPU_GBS_PER_CORE = 6.0
#: GB/s of a machine's memory of which nothing is published: two channels of DDR4-3200, and two for
#: each core of a server. A rule, on the low side.
MEMORY_GBS = 50.0
MEMORY_GBS_PER_CORE = 2.0
#: GB/s of a card that is not in the tables: the slowest of Intel's Arc cards (A310). A rule.
CARD_GBS = 124.0
_RULE = "by rule"
_INT8 = ("i8", "u8", "int8_t", "uint8_t")


class Measured(Value):
    """What this install measured of a model on a device."""

    device: DeviceName
    model: str
    tokens_per_second: float
    #: UTC, ISO 8601.
    when: str


@dataclass(frozen=True)
class Rate:
    """A figure and what it rests on, in a word or two."""

    value: float
    basis: str


@dataclass(frozen=True)
class Candidate:
    """One usable device. Rates are GB/s (``bandwidth``, ``reached``) and int8 TOPS (``int8``)."""

    name: str
    kind: Device
    title: str
    discrete: bool
    #: Bytes, of its own or what it may take of the machine's; None: not stated.
    memory: int | None
    bandwidth: Rate
    #: What generating text is expected to reach of ``bandwidth``.
    reached: float
    int8: Rate | None


def candidates(facts: HostFacts) -> tuple[Candidate, ...]:
    """Return Intel's devices that OpenVINO lists and nothing breaks, and the CPU of an x86-64.

    The CPU comes without OpenVINO's word: an image is provisioned before it has one.
    """
    shared = _shared(facts)
    broken = {"CPU", *usable.broken_though_listed(facts)}
    found = [
        _candidate(facts, one, shared) for one in usable.listed(facts) if one.name not in broken
    ]
    if usable.problem(facts, Device.CPU) is None:
        cpu = usable.openvino_device(facts, Device.CPU)
        name = facts.cpu.model
        found.append(
            _candidate(facts, cpu or DeviceFacts(name="CPU", full_name=name, properties={}), shared)
        )
    return tuple(found)


def expected(candidate: Candidate, loaded: int) -> float:
    """Return the tokens/s that a model of ``loaded`` bytes is expected to give: an upper bound."""
    return candidate.reached * 1e9 / max(loaded, 1)


def last_measured(
    candidate: Candidate, model: str, measured: Iterable[Measured]
) -> Measured | None:
    """Return what was last measured of a model on a device; None: nothing was."""
    here = [one for one in measured if (one.device, one.model) == (candidate.name, model)]
    return max(here, key=lambda one: one.when, default=None)


def ranked(
    found: Sequence[Candidate], model: str = "", measured: Sequence[Measured] = ()
) -> list[Candidate]:
    """Return the devices, the best first.

    By the bandwidth that is reached; where that is equal the higher int8 peak is first, and where
    a peak is not known a rule: card, integrated GPU, CPU. Devices on which ``model`` was measured
    change places by what was measured; one measurement alone changes nothing, for a peak and a
    measurement can't be compared. The NPU comes last, whatever it measures: it serves one request
    at a time, with a prompt that is limited.
    """

    def rate(one: Candidate) -> tuple[bool, float]:
        return one.kind is Device.NPU, -float(f"{one.reached:.3g}")

    order: list[Candidate] = []
    for _, group in groupby(sorted(found, key=rate), key=rate):
        alike = sorted(group, key=_class)
        if all(one.int8 for one in alike):
            alike.sort(key=lambda one: -one.int8.value if one.int8 else 0.0)
        order += alike
    return _by_measurement(order, model, measured)


def _by_measurement(
    order: list[Candidate], model: str, measured: Sequence[Measured]
) -> list[Candidate]:
    rates = {
        one.name: last.tokens_per_second
        for one in order
        if one.kind is not Device.NPU and (last := last_measured(one, model, measured))
    }
    fastest = iter(
        sorted((one for one in order if one.name in rates), key=lambda one: -rates[one.name])
    )
    return [next(fastest) if one.name in rates else one for one in order]


def _class(one: Candidate) -> tuple[int, str]:
    return {Device.GPU: 0 if one.discrete else 1, Device.CPU: 2, Device.NPU: 3}[one.kind], one.name


def _candidate(facts: HostFacts, found: DeviceFacts, shared: Rate) -> Candidate:
    kind = Device(found.name.partition(".")[0])
    discrete = usable.is_discrete(facts, found.name)
    bandwidth = _card(facts, found) if discrete else shared
    reached = bandwidth.value * SHARE
    if kind is Device.CPU:
        reached = min(reached, _cores(facts.cpu) * CPU_GBS_PER_CORE)
    return Candidate(
        name=found.name,
        kind=kind,
        title=title(found.full_name),
        discrete=discrete,
        memory=facts.memory.usable if kind is Device.CPU else usable.own_memory(facts, found.name),
        bandwidth=bandwidth,
        reached=reached,
        int8=_int8(facts, found),
    )


def _cores(cpu: CpuFacts) -> float:
    """Return the cores that may be used; an efficiency core is half a one, a thread is none."""
    whole = float(cpu.physical_cores)
    if cpu.performance_cores is not None and cpu.efficiency_cores is not None:
        whole = cpu.performance_cores + cpu.efficiency_cores / 2
    return min(whole, cpu.usable_cores)


def title(full_name: str) -> str:
    """Return a device's name without marks: ``Intel Arc B580``."""
    for mark in ("(R)", "(TM)", "(iGPU)", "(dGPU)"):
        full_name = full_name.replace(mark, "")
    return " ".join(full_name.split())


def _word(figure: Figure) -> str:
    """Return how sure a figure is, as a plan says it: the press repeats what Intel published."""
    printed = figure.confidence in {Confidence.PUBLISHED, Confidence.PRESS}
    return "published" if printed else figure.confidence.value


def _card(facts: HostFacts, found: DeviceFacts) -> Rate:
    known = platform_of(facts, found)
    figure = known.memory_gbs if known else None
    return Rate(figure.value, _word(figure)) if figure else Rate(CARD_GBS, _RULE)


def _shared(facts: HostFacts) -> Rate:
    """Return the bandwidth of the machine's memory: the CPU's, or that of what is beside it."""
    cpu = DeviceFacts(name="CPU", full_name=facts.cpu.model, properties={})
    beside = [one for one in usable.listed(facts) if not usable.is_discrete(facts, one.name)]
    for one in (cpu, *beside):
        known = platform_of(facts, one)
        if known is not None and known.memory_gbs is not None:
            computed = known.memory_gbs.confidence is Confidence.COMPUTED
            basis = "by its bus" if computed else _word(known.memory_gbs)
            return Rate(known.memory_gbs.value, basis)
    cores = facts.cpu.physical_cores * MEMORY_GBS_PER_CORE
    return Rate(max(MEMORY_GBS, cores), _RULE)


def _int8(facts: HostFacts, found: DeviceFacts) -> Rate | None:
    """Return the int8 peak: published, else OpenVINO's, else clock x tiles x operations."""
    known = platform_of(facts, found)
    if known is not None and known.int8_tops is not None:
        return Rate(known.int8_tops.value, _word(known.int8_tops))
    if (gops := _gops(found)) is not None:
        return Rate(gops / 1000, "DEVICE_GOPS")
    shown = usable.accelerator_of(facts, found) if found.name != "CPU" else None
    if found.name == "NPU" and shown is not None and shown.max_mhz is not None:
        architecture = str(found.properties.get("DEVICE_ARCHITECTURE", shown.architecture))
        peak = npu_peak(architecture, shown.max_mhz)
        return Rate(peak.value, "clock x tiles") if peak else None
    return None


def _gops(found: DeviceFacts) -> float | None:
    """Return DEVICE_GOPS of int8. Newer GPUs than their plugin say zero, which tells nothing."""
    stated = found.properties.get("DEVICE_GOPS")
    if not isinstance(stated, dict):
        return None
    numbers = [stated[key] for key in _INT8 if key in stated]
    usable = [
        float(one)
        for one in numbers
        if isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)
    ]
    return max((one for one in usable if one > 0), default=None)
