"""Drives, as /sys/block shows them. Serial numbers are not read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.facts import reading
from local_opus.host import Host
from local_opus.values import DriveFacts

FOLDER = "/sys/block"
#: Block devices that are no drives: files, memory, mappings and arrays of drives, optical and
#: floppy drives, network blocks, and the boot and RPMB parts of an eMMC.
_OTHERS = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|rbd|drbd|zd)\d|mmcblk\d+(boot|rpmb)")
#: sysfs counts sectors of 512 bytes, whatever the drive's own are (Linux block/genhd.c).
_SECTOR = 512
#: Names that virtio and Xen give, and models of drives that a hypervisor makes up.
_VIRTUAL_NAME = re.compile(r"(vd|xvd)[a-z]")
_VIRTUAL_MODEL = re.compile(r"qemu|vmware|vbox|virtual disk", re.IGNORECASE)


@dataclass(frozen=True)
class RawDrive:
    """One block device: its name and the words of its files, None where one is missing."""

    name: str
    sectors: int | None
    model: str | None
    rotational: str | None


@dataclass(frozen=True)
class Raw:
    """The block devices that may be drives, by name."""

    drives: tuple[RawDrive, ...]


def read(host: Host) -> Raw:
    """Read size, model and kind of each drive."""
    return Raw(
        tuple(
            RawDrive(
                name,
                reading.number(host, f"{FOLDER}/{name}/size"),
                reading.word(host, f"{FOLDER}/{name}/device/model"),
                reading.word(host, f"{FOLDER}/{name}/queue/rotational"),
            )
            for name in reading.names(host, FOLDER)
            if not _OTHERS.match(name)
        )
    )


def parse(raw: Raw) -> tuple[DriveFacts, ...]:
    """Return the drives; one without a size (an empty card reader, or gone) is left out."""
    return tuple(
        DriveFacts(
            name=drive.name,
            model=drive.model,
            size=drive.sectors * _SECTOR,
            kind=_kind(drive),
        )
        for drive in raw.drives
        if drive.sectors
    )


def _kind(drive: RawDrive) -> str:
    if _VIRTUAL_NAME.match(drive.name) or _VIRTUAL_MODEL.search(drive.model or ""):
        return "virtual"
    if drive.name.startswith("nvme"):
        return "nvme"
    return "hdd" if drive.rotational == "1" else "ssd"
