"""Names of Intel's GPUs and NPUs by PCI device id (vendor 8086).

Sources: GPU: intel/compute-runtime shared/source/dll/devices/devices_base.inl. NPU:
torvalds/linux drivers/accel/ivpu/ivpu_drv.h; d71d from commit 550f4dd2cedd.
"""

from __future__ import annotations

NPU_NAMES = {
    "7d1d": "Intel AI Boost (Meteor Lake)",
    "ad1d": "Intel AI Boost (Arrow Lake)",
    "643e": "Intel AI Boost (Lunar Lake)",
    "b03e": "Intel AI Boost (Panther Lake)",
    "fd3e": "Intel AI Boost (Wildcat Lake)",
    "d71d": "Intel AI Boost (Nova Lake)",
}

GPU_NAMES = {
    "9a49": "Intel Iris Xe Graphics (Tiger Lake)",
    "46a6": "Intel Iris Xe Graphics (Alder Lake)",
    "a7a0": "Intel Iris Xe Graphics (Raptor Lake)",
    "4680": "Intel UHD Graphics 770 (Alder Lake)",
    "a780": "Intel UHD Graphics 770 (Raptor Lake)",
    "7d40": "Intel Graphics (Meteor Lake)",
    "7d45": "Intel Graphics (Meteor Lake)",
    "7dd5": "Intel Graphics (Meteor Lake)",
    "7d55": "Intel Arc Graphics (Meteor Lake)",
    "7d41": "Intel Graphics (Arrow Lake)",
    "7d67": "Intel Graphics (Arrow Lake)",
    "7dd1": "Intel Graphics (Arrow Lake)",
    "7d51": "Intel Arc Graphics (Arrow Lake)",
    "6420": "Intel Graphics (Lunar Lake)",
    "64a0": "Intel Arc Graphics (Lunar Lake)",
    "64b0": "Intel Graphics (Lunar Lake)",
    "b080": "Intel Arc B390 (Panther Lake)",
    "b082": "Intel Arc B390 (Panther Lake)",
    "b081": "Intel Arc B370 (Panther Lake)",
    "b083": "Intel Arc B370 (Panther Lake)",
    "b08f": "Intel Graphics (Panther Lake)",
    "b090": "Intel Graphics (Panther Lake)",
    "b0a0": "Intel Graphics (Panther Lake)",
    "fd80": "Intel Graphics (Wildcat Lake)",
    "fd81": "Intel Graphics (Wildcat Lake)",
    "56a0": "Intel Arc A770",
    "56a1": "Intel Arc A750",
    "56a2": "Intel Arc A580",
    "56a5": "Intel Arc A380",
    "56a6": "Intel Arc A310",
    "e209": "Intel Arc B580",
    "e20b": "Intel Arc B580",
    "e20c": "Intel Arc B570",
    "e211": "Intel Arc Pro B60",
    "e212": "Intel Arc Pro B50",
    "e222": "Intel Arc Pro B65",
    "e223": "Intel Arc Pro B70",
}
