"""The published peaks of NPUs and processors, and the memory of their platforms: tables."""

from __future__ import annotations

from local_opus.devices.figures import Confidence, Figure, Published
from local_opus.values import Device

_PRESS, _CLAIMED, _INFERRED = Confidence.PRESS, Confidence.CLAIMED, Confidence.INFERRED


def _figure(value: float, confidence: Confidence, source: str) -> Figure:
    return Figure(value=value, confidence=confidence, source=source)


def memory_bus(mts: int, bits: int, kind: str) -> Figure:
    """Return the peak of a memory bus: transfers/s times its width. ``mts``: 10^6 transfers/s."""
    return Figure(
        value=round(mts * bits / 8 / 1000, 1),
        confidence=Confidence.COMPUTED,
        source=f"{kind}-{mts}, the fastest it takes, times {bits} bits",
    )


#: The fastest memory that each platform takes; what is built in may be slower. Read: Arrow
#: Lake-S/HX: computerbase.de 2024-07; Lunar Lake: hi-tech.ua; Panther Lake: 36kr 2025-10. The
#: others are general knowledge. Wildcat Lake: forums say 64 bits, no speed is sure.
MEMORY = {
    "Tiger Lake": memory_bus(4267, 128, "LPDDR4X"),
    "Alder Lake-P": memory_bus(5200, 128, "LPDDR5"),
    "Alder Lake-S": memory_bus(4800, 128, "DDR5"),
    "Raptor Lake-P": memory_bus(6400, 128, "LPDDR5"),
    "Raptor Lake-S": memory_bus(5600, 128, "DDR5"),
    "Meteor Lake": memory_bus(7467, 128, "LPDDR5X"),
    "Arrow Lake-S": memory_bus(6400, 128, "DDR5"),
    "Arrow Lake-HX": memory_bus(6400, 128, "DDR5"),
    "Arrow Lake-H": memory_bus(8400, 128, "LPDDR5X"),
    "Arrow Lake-U": memory_bus(8400, 128, "LPDDR5X"),
    "Lunar Lake": memory_bus(8533, 128, "LPDDR5X"),
    "Panther Lake": memory_bus(9600, 128, "LPDDR5X"),
}


def _npu(platform: str, tops: Figure | None) -> Published:
    half = tops and _figure(tops.value / 2, Confidence.INFERRED, "half of its int8 TOPS")
    return Published(
        device=Device.NPU,
        platform=platform,
        int8_tops=tops,
        fp16_tflops=half,
        memory_gbs=MEMORY.get(platform),
    )


#: By platform. Wildcat Lake: a leak says 40 TOPS for the whole chip. Nova Lake: nothing is known.
NPU = {
    one.platform: one
    for one in (
        _npu("Meteor Lake", _figure(11.5, _PRESS, "The Register 2024-04-10 (11); TweakTown 11.5")),
        _npu("Arrow Lake", _figure(13, _PRESS, "hardwareluxx.de; tweakpc.de news 50403")),
        _npu("Lunar Lake", _figure(48, _PRESS, "thelatestnews.world and mspoweruser.com 2024-06")),
        _npu("Panther Lake", _figure(50, _PRESS, "rcrtech.com: Intel previews Panther Lake")),
        _npu("Wildcat Lake", _figure(17, _CLAIMED, "a leak; forums say 18, the chip's sum is 40")),
        _npu("Nova Lake", None),
    )
}
#: PCI device id (vendor 8086) -> platform: torvalds/linux drivers/accel/ivpu/ivpu_drv.h; d71d:
#: commit 550f4dd2cedd.
NPU_IDS = {
    "7d1d": "Meteor Lake",
    "ad1d": "Arrow Lake",
    "643e": "Lunar Lake",
    "b03e": "Panther Lake",
    "fd3e": "Wildcat Lake",
    "d71d": "Nova Lake",
}
#: DEVICE_ARCHITECTURE -> platform. 3720 is Arrow Lake's too: the smaller figure is the sure one.
NPU_ARCHITECTURES = {
    "3720": "Meteor Lake",
    "4000": "Lunar Lake",
    "5010": "Panther Lake",
    "5020": "Wildcat Lake",
    "6010": "Nova Lake",
}
#: Tiles and int8 operations/clock of one: intel/linux-npu-driver umd hw_info.hpp, vpu_hw_*.cpp.
NPU_TILES = {
    "3720": (2, 4096),
    "4000": (6, 4096),
    "5010": (3, 8192),
    "5020": (1, 8192),
}


def _cpu(platform: str, tops: float | None, confidence: Confidence, source: str) -> Published:
    return Published(
        device=Device.CPU,
        platform=platform,
        int8_tops=None if tops is None else _figure(tops, confidence, source),
        memory_gbs=MEMORY.get(platform),
    )


#: What is printed of processors, by platform; the rest is computed (cpu_peaks).
CPU = {
    one.platform: one
    for one in (
        _cpu("Meteor Lake", 5, _PRESS, "The Register 2024-04-10"),
        _cpu("Arrow Lake-S", 15, _PRESS, "hardwareluxx.de"),
        _cpu("Arrow Lake-HX", 15, _INFERRED, "the same chip as Arrow Lake-S"),
        _cpu("Arrow Lake-H", 9, _INFERRED, "99 of the platform less 13 and 77 (pcquest.com)"),
        _cpu("Arrow Lake-U", None, _INFERRED, ""),
        _cpu("Lunar Lake", 5, _PRESS, "zareason.com: 120 of the platform less 48 and 67"),
        _cpu("Panther Lake", 10, _INFERRED, "180 of the platform less 50 and 120 (rcrtech.com)"),
        _cpu("Wildcat Lake", None, _INFERRED, ""),
        _cpu("Tiger Lake", None, _INFERRED, ""),
        _cpu("Alder Lake-P", None, _INFERRED, ""),
        _cpu("Alder Lake-S", None, _INFERRED, ""),
        _cpu("Raptor Lake-P", None, _INFERRED, ""),
        _cpu("Raptor Lake-S", None, _INFERRED, ""),
    )
}
#: The processor's own name -> platform; the first that is found in it counts.
CPU_MODELS = (
    (r"Ultra \d 1\d\d[HU]", "Meteor Lake"),
    (r"Ultra \d 2\d\dV", "Lunar Lake"),
    (r"Ultra \d 2\d\dHX", "Arrow Lake-HX"),
    (r"Ultra \d 2\d\dH", "Arrow Lake-H"),
    (r"Ultra \d 2\d\dU", "Arrow Lake-U"),
    (r"Ultra \d 2\d\d", "Arrow Lake-S"),
    (r"Ultra X?\d 3\d\d", "Panther Lake"),
    (r"i\d-11\d{2}G\d", "Tiger Lake"),
    (r"i\d-12\d{2,3}[HPU]", "Alder Lake-P"),
    (r"i\d-12\d{3}", "Alder Lake-S"),
    (r"i\d-13\d{2,3}[HPU](?!X)", "Raptor Lake-P"),
    (r"i\d-1[34]\d{3}", "Raptor Lake-S"),
)
