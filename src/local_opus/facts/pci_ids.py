"""Intel's GPUs and NPUs by PCI device id (vendor 8086), and cards that are neither.

Sources: GPU names: intel/compute-runtime shared/source/dll/devices/devices_base.inl; IP versions:
third_party/aot_config_headers/platforms.h there. NPU: torvalds/linux drivers/accel/ivpu/ivpu_drv.h;
d71d from commit 550f4dd2cedd; architectures 3720 to 5020 measured with Intel's driver, 6010 is
inferred. FPGA: torvalds/linux drivers/fpga/dfl-pci.c. GuC firmware: xe_uc_fw.c, intel_uc_fw.c.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """What a PCI id says of a GPU or an NPU."""

    name: str
    platform: str
    #: None: several, by stepping or by a table that was not read.
    architecture: str | None
    #: A GPU on a card has memory of its own.
    discrete: bool = False


def _npu(platform: str, architecture: str) -> Known:
    return Known(f"Intel AI Boost ({platform})", platform, architecture)


def _gpu(name: str, platform: str, architecture: str | None) -> Known:
    return Known(f"Intel {name} ({platform})", platform, architecture)


def _card(name: str, platform: str, architecture: str | None) -> Known:
    return Known(f"Intel Arc {name}", platform, architecture, discrete=True)


NPUS = {
    "7d1d": _npu("Meteor Lake", "3720"),
    "ad1d": _npu("Arrow Lake", "3720"),
    "643e": _npu("Lunar Lake", "4000"),
    "b03e": _npu("Panther Lake", "5010"),
    "fd3e": _npu("Wildcat Lake", "5020"),
    "d71d": _npu("Nova Lake", "6010"),
}

GPUS = {
    "9a49": _gpu("Iris Xe Graphics", "Tiger Lake", "12.0.0"),
    "46a6": _gpu("Iris Xe Graphics", "Alder Lake", "12.3.0"),
    "a7a0": _gpu("Iris Xe Graphics", "Raptor Lake", "12.3.0"),
    "4680": _gpu("UHD Graphics 770", "Alder Lake", "12.2.0"),
    "a780": _gpu("UHD Graphics 770", "Raptor Lake", "12.2.0"),
    "7d40": _gpu("Graphics", "Meteor Lake", "12.70.4"),
    "7d45": _gpu("Graphics", "Meteor Lake", "12.70.4"),
    "7dd5": _gpu("Graphics", "Meteor Lake", "12.71.4"),
    "7d55": _gpu("Arc Graphics", "Meteor Lake", "12.71.4"),
    "7d41": _gpu("Graphics", "Arrow Lake", "12.70.4"),
    "7d67": _gpu("Graphics", "Arrow Lake", "12.70.4"),
    "7dd1": _gpu("Graphics", "Arrow Lake", "12.74.4"),
    "7d51": _gpu("Arc Graphics", "Arrow Lake", "12.74.4"),
    "6420": _gpu("Graphics", "Lunar Lake", "20.4.4"),
    "64a0": _gpu("Arc Graphics", "Lunar Lake", "20.4.4"),
    "64b0": _gpu("Graphics", "Lunar Lake", "20.4.4"),
    "b080": _gpu("Arc B390", "Panther Lake", "30.0.4"),
    "b082": _gpu("Arc B390", "Panther Lake", "30.0.4"),
    "b081": _gpu("Arc B370", "Panther Lake", "30.0.4"),
    "b083": _gpu("Arc B370", "Panther Lake", "30.0.4"),
    "b08f": _gpu("Graphics", "Panther Lake", None),
    "b090": _gpu("Graphics", "Panther Lake", None),
    "b0a0": _gpu("Graphics", "Panther Lake", None),
    "fd80": _gpu("Graphics", "Wildcat Lake", "30.3.1"),
    "fd81": _gpu("Graphics", "Wildcat Lake", "30.3.1"),
    "56a0": _card("A770", "Alchemist", "12.55.8"),
    "56a1": _card("A750", "Alchemist", "12.55.8"),
    "56a2": _card("A580", "Alchemist", "12.55.8"),
    "56a5": _card("A380", "Alchemist", "12.56.5"),
    "56a6": _card("A310", "Alchemist", "12.56.5"),
    "e209": _card("B580", "Battlemage", None),
    "e20b": _card("B580", "Battlemage", None),
    "e20c": _card("B570", "Battlemage", None),
    "e211": _card("Pro B60", "Battlemage", None),
    "e212": _card("Pro B50", "Battlemage", None),
    "e222": _card("Pro B65", "Battlemage", "20.2.0"),
    "e223": _card("Pro B70", "Battlemage", "20.2.0"),
}

#: Intel's FPGA cards: some have the PCI class of NPUs.
FPGAS = frozenset({"bcbd", "bcbf", "bcc0", "bcc1", "09c4", "09c5", "0b30", "0b31", "0b2b", "0b2c",
                   "bcce", "bccf"})  # fmt: skip

#: How the names of firmware files begin, below /lib/firmware: NPUs by architecture, ...
NPU_FIRMWARE = {"3720": "intel/vpu/vpu_37xx", "4000": "intel/vpu/vpu_40xx",
                "5010": "intel/vpu/vpu_50xx", "5020": "intel/vpu/vpu_50xx",
                "6010": "intel/vpu/vpu_60xx"}  # fmt: skip
#: ... and GPUs by platform: the GuC, without which xe does not start (i915 runs on without it up
#: to Alder Lake). Alder and Raptor Lake differ between -P and -S, which have one of the two.
GPU_FIRMWARE = {
    "Tiger Lake": ("i915/tgl_guc",), "Alder Lake": ("i915/adlp_guc", "i915/tgl_guc"),
    "Raptor Lake": ("i915/adlp_guc", "i915/tgl_guc"), "Meteor Lake": ("i915/mtl_guc",),
    "Arrow Lake": ("i915/mtl_guc",), "Lunar Lake": ("xe/lnl_guc",),
    "Panther Lake": ("xe/ptl_guc",), "Wildcat Lake": ("xe/ptl_guc",),
    "Alchemist": ("i915/dg2_guc",), "Battlemage": ("xe/bmg_guc",),
}  # fmt: skip
