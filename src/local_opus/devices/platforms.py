"""What each platform's GPU and NPU needs of the kernel, the firmware and the user space.

Sources. NPU: torvalds/linux drivers/accel/ivpu/ivpu_drv.h and ivpu_fw.c (PCI ids, firmware), the
release notes of intel/linux-npu-driver (kernel and driver that were verified together), OpenVINO's
documentation (kernel 6.6 for Meteor Lake). GPU: torvalds/linux (i915 without force_probe for
Meteor Lake: commit 213c43676beb, 6.7; xe by default for Panther Lake: 6.17), OpenVINO's
documentation (6.2 for Arc A); firmware: xe_uc_fw.c and intel_uc_fw.c; generations before Xe:
LEGACY_PLATFORMS.md of intel/compute-runtime. That xe is the default of Lunar Lake and Battlemage
from 6.12 on rests on reports alone; 6.11 wants force_probe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.values import AcceleratorFacts, Device

Version = tuple[int, ...]
NPU_MODULE = "intel_vpu"


@dataclass(frozen=True)
class Platform:
    """What one generation needs. None: not known, so nothing is said about it."""

    name: str
    #: Kernel drivers that serve it, the default first.
    drivers: tuple[str, ...]
    #: The oldest kernel that is known to drive it by itself.
    kernel: Version | None = None
    #: The oldest kernel that binds its driver when told to by force_probe.
    forced: Version | None = None
    #: The file below /lib/firmware that the driver asks for first.
    firmware: str | None = None
    #: The oldest user-space driver: linux-npu-driver or compute-runtime.
    user_space: Version | None = None
    #: The last series of compute-runtime that serves it.
    last_user_space: Version | None = None
    #: Whether its driver goes on without firmware (i915 up to Raptor Lake).
    optional_firmware: bool = False


_VPU = (NPU_MODULE,)
#: By PCI device id.
_NPU = {
    "7d1d": Platform("Meteor Lake", _VPU, (6, 6), None, "intel/vpu/vpu_37xx_v1.bin", (1, 5, 1)),
    "ad1d": Platform("Arrow Lake", _VPU, (6, 8), None, "intel/vpu/vpu_37xx_v1.bin", (1, 5, 1)),
    "643e": Platform("Lunar Lake", _VPU, (6, 8), None, "intel/vpu/vpu_40xx_v1.bin", (1, 5, 1)),
    "b03e": Platform("Panther Lake", _VPU, (6, 13), None, "intel/vpu/vpu_50xx_v1.bin", (1, 28)),
    "fd3e": Platform("Wildcat Lake", _VPU, (6, 17), None, "intel/vpu/vpu_50xx_v1.bin", (1, 32)),
    "d71d": Platform("Nova Lake", _VPU, (7, 0), None, "intel/vpu/vpu_60xx_v1.bin", (1, 39, 1)),
}
_I915, _XE = ("i915", "xe"), ("xe", "i915")
#: compute-runtime 22.43 (Debian 12) knows no platform from Meteor Lake on.
_AFTER_22 = (23,)
_MTL, _PTL = "i915/mtl_guc_70.bin", "xe/ptl_guc_70.bin"
#: By the PCI device id's beginning, the first that fits.
_GPU = (
    (r"56", Platform("Alchemist", _I915, (6, 2), None, "i915/dg2_guc_70.bin")),
    (r"7d41|7d51|7d67|7dd1", Platform("Arrow Lake", _I915, (6, 7), None, _MTL, _AFTER_22)),
    (r"7d", Platform("Meteor Lake", _I915, (6, 7), None, _MTL, _AFTER_22)),
    (r"64", Platform("Lunar Lake", _XE, (6, 12), (6, 8), "xe/lnl_guc_70.bin", _AFTER_22)),
    (r"e2", Platform("Battlemage", _XE, (6, 12), (6, 11), "xe/bmg_guc_70.bin", _AFTER_22)),
    (r"b0", Platform("Panther Lake", _XE, (6, 17), (6, 13), _PTL, _AFTER_22)),
    (r"fd8", Platform("Wildcat Lake", _XE, (6, 17), None, _PTL, _AFTER_22)),
    (r"9a", Platform("Tiger Lake", _I915, optional_firmware=True)),
    (r"46", Platform("Alder Lake", _I915, optional_firmware=True)),
    (r"a7", Platform("Raptor Lake", _I915, optional_firmware=True)),
    # Broadwell to Coffee and Comet Lake, Apollo and Gemini Lake, Ice, Elkhart and Jasper Lake.
    (
        r"16[0-3]|19[0-3]|59[0-3]|87c|3e[9a]|9b[ac]|5a[48]|318|8a5|45[4-7]|4e[5-7]",
        Platform("a generation before Xe", _I915, last_user_space=(24, 35), optional_firmware=True),
    ),
)
_UNKNOWN = {
    Device.GPU: Platform("unknown platform", _XE),
    Device.NPU: Platform("unknown platform", _VPU),
}

#: Processors that have an NPU, by their own name: all of Core Ultra. Plain "Core" has none.
_ULTRA = re.compile(r"Core(?:\(TM\))?\s+Ultra\s+X?[3579]\s+(?:PRO\s+)?(\d)\d\d(\w*)", re.IGNORECASE)
_SERIES = {"1": "Meteor Lake", "2": "Arrow Lake", "3": "Panther Lake"}


def platform_of(item: AcceleratorFacts) -> Platform:
    """Return what a device needs; where its id is in no table, only its kernel drivers."""
    number = item.pci_id.rpartition(":")[2]
    if item.kind is Device.NPU:
        return _NPU.get(number, _UNKNOWN[Device.NPU])
    found = (platform for ids, platform in _GPU if re.match(ids, number))
    return next(found, _UNKNOWN[item.kind])


def npu_of_processor(model: str) -> str | None:
    """Return the platform of the NPU that a processor of this name has, None where it has none."""
    found = _ULTRA.search(model)
    if found is None or found[1] not in _SERIES:
        return None
    if found[1] == "2" and found[2].upper().startswith("V"):
        return "Lunar Lake"
    return _SERIES[found[1]]


def version(text: str | None) -> Version | None:
    """Return the numbers a version begins with: "22.43.24595-1" is (22, 43, 24595)."""
    found = re.match(r"(?:\d+:)?v?(\d+(?:\.\d+)*)", text or "")
    return tuple(int(part) for part in found[1].split(".")) if found else None


def text_of(numbers: Version) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, numbers))


def is_older(text: str | None, than: Version | None) -> bool:
    """Say whether a version is known to be older than another: "6" may be any 6.x."""
    found = version(text)
    return found is not None and than is not None and found < than[: len(found)]


def is_backported(kernel: str) -> bool:
    """Say whether a kernel carries newer drivers than its number tells (RHEL's, SUSE's)."""
    return re.search(r"\.el\d|-default\b", kernel) is not None
