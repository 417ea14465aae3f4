"""Firmware files of a device, in the folders where the kernel looks, also compressed.

The folders are those of Linux drivers/base/firmware_loader/main.c. Arrow Lake's GPU takes Meteor
Lake's files, as the kernel takes it for one.
"""

from __future__ import annotations

from local_opus.facts import reading
from local_opus.facts.pci_ids import GPU_FIRMWARE, GPUS, NPU_FIRMWARE, NPUS
from local_opus.host import Host

#: Where a system can name one more folder; NixOS does.
_OWN_FOLDER = "/sys/module/firmware_class/parameters/path"
_ENDS = (".bin", ".bin.xz", ".bin.zst")


def release(host: Host) -> str:
    """Return the release of the running kernel; empty where nothing tells it."""
    return reading.word(host, "/proc/sys/kernel/osrelease") or host.kernel.release() or ""


def files(host: Host, number: str) -> tuple[str, ...]:
    """Return the paths of the firmware files for the device with this PCI id, if it is known."""
    if (npu := NPUS.get(number)) is not None:
        begins = tuple(filter(None, [NPU_FIRMWARE.get(npu.architecture or "")]))
    elif (gpu := GPUS.get(number)) is not None:
        begins = GPU_FIRMWARE.get(gpu.platform, ())
    else:
        return ()
    return tuple(path for folder in _folders(host) for begin in begins
                 for path in _matching(host, f"{folder}/{begin}"))  # fmt: skip


def _folders(host: Host) -> list[str]:
    kernel = release(host)
    versioned = [f"/lib/firmware/updates/{kernel}", "/lib/firmware/updates",
                 f"/lib/firmware/{kernel}"] if kernel else ["/lib/firmware/updates"]  # fmt: skip
    own = reading.word(host, _OWN_FOLDER)
    first = [own.rstrip("/")] if own is not None and own.startswith("/") else []
    return list(dict.fromkeys([*first, *versioned, "/lib/firmware"]))


def _matching(host: Host, begin: str) -> list[str]:
    folder, _, start = begin.rpartition("/")
    return [f"{folder}/{name}" for name in reading.names(host, folder)
            if name.startswith(start) and name.endswith(_ENDS)]  # fmt: skip
