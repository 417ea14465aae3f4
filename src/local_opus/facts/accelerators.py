"""GPUs and NPUs as the PCI bus in sysfs shows them, and whether Intel's can be opened.

OpenVINO leaves out a device it can't use without saying why; a missing library, a missing node
and a missing permission look the same to it. So this looks at each of them itself.

What counts as an NPU of Intel's: a known id; whatever the driver intel_vpu holds; and a processing
accelerator with an unknown id on bus 0 of the processor itself, where all of Intel's NPUs are (a
generation of tomorrow: shown without a name). A card on another bus with an unknown id and one of
the FPGA cards' ids is no NPU, though its PCI class is the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.facts import firmware, reading
from local_opus.facts.pci_ids import FPGAS, GPUS, NPUS
from local_opus.host import Host
from local_opus.values import AcceleratorFacts, Device, ForeignFacts

_DEVICES = "/sys/bus/pci/devices"
_INTEL = "0x8086"
#: PCI base class 03: display controllers.
_DISPLAY = "0x03"
#: PCI base class 12: processing accelerators; 1180: other signal processors, AMD's NPUs.
_PROCESSING = ("0x12", "0x1180")
_NPU_CLASS = "0x1200"
_NPU_DRIVER = "intel_vpu"
_FOREIGN_NPU_DRIVERS = ("amdxdna",)
#: The processor's own bus, and the address of its own GPU.
_OWN_BUS = "0000:00:"
_OWN_GPU = "0000:00:02.0"
#: Where the driver puts the node's name below the device, and where udev puts the node.
_NODES = {Device.GPU: ("drm", "/dev/dri", re.compile(r"renderD\d+")),
          Device.NPU: ("accel", "/dev/accel", re.compile(r"accel\d+"))}  # fmt: skip
_CARD = re.compile(r"card\d+")
#: A GPU has two at most (Data Center GPU Max).
_TILES = ("tile0", "tile1")
#: Where the highest clock stands in MHz, the first that is there: NPU (ivpu_sysfs.c keeps the
#: second name for the first), and GPU with xe (rp0 is what it can, max what it is set to).
_CLOCKS = ("freq/hw_max_freq", "npu_max_frequency_mhz", "tile0/gt0/freq0/rp0_freq",
           "tile0/gt0/freq0/max_freq")  # fmt: skip


@dataclass(frozen=True)
class RawNode:
    """A device node: its permission bits and group, None where it can't be seen."""

    path: str
    problem: str | None
    mode: int | None
    group: str | None


@dataclass(frozen=True)
class RawDevice:
    """One PCI device: words of sysfs and what opening its node said (Intel's devices only)."""

    address: str
    vendor: str
    device: str
    pci_class: str
    driver: str | None
    node: RawNode | None
    max_mhz: int | None = None
    memory: int | None = None
    firmware: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """The device id without its prefix, e.g. 7d55."""
        return self.device.removeprefix("0x")


@dataclass(frozen=True)
class Raw:
    """The devices that may be a GPU or an NPU, by address."""

    devices: tuple[RawDevice, ...]


def read(host: Host) -> Raw:
    """Read the display controllers and processing accelerators of every maker."""
    found = []
    for address in reading.names(host, _DEVICES):
        folder = f"{_DEVICES}/{address}"
        pci_class = (reading.word(host, f"{folder}/class") or "").casefold()
        kind = _kind(pci_class)
        if kind is not None:
            found.append(_device(host, address, pci_class, kind))
    return Raw(tuple(found))


def _kind(pci_class: str) -> Device | None:
    if pci_class.startswith(_DISPLAY):
        return Device.GPU
    return Device.NPU if pci_class.startswith(_PROCESSING) else None


def _device(host: Host, address: str, pci_class: str, kind: Device) -> RawDevice:
    folder = f"{_DEVICES}/{address}"
    vendor, device = ((reading.word(host, f"{folder}/{name}") or "").casefold()
                      for name in ("vendor", "device"))  # fmt: skip
    driver = reading.link_name(host, f"{folder}/driver")
    path = _node(host, folder, kind)
    if vendor != _INTEL:
        node = RawNode(path, None, None, None) if path else None
        return RawDevice(address, vendor, device, pci_class, driver, node)
    card = next(filter(_CARD.fullmatch, reading.names(host, f"{folder}/drm")), None)
    return RawDevice(
        address, vendor, device, pci_class, driver,
        node=_look_at(host, path) if path else None,
        max_mhz=_clock(host, folder, card),
        memory=_memory(host, folder, card),
        firmware=firmware.files(host, device.removeprefix("0x")),
    )  # fmt: skip


def _node(host: Host, folder: str, kind: Device) -> str | None:
    below, nodes, pattern = _NODES[kind]
    names = [name for name in reading.names(host, f"{folder}/{below}") if pattern.fullmatch(name)]
    return f"{nodes}/{names[0]}" if names else None


def _look_at(host: Host, path: str) -> RawNode:
    problem = host.files.can_open(path)
    try:
        found = host.files.stat(path, follow=True)
    except OSError:  # its folder can't be searched: can_open says so in words
        found = None
    if found is None:
        return RawNode(path, problem, None, None)
    return RawNode(path, problem, found.mode, _group(host, found.gid))


def _group(host: Host, gid: int) -> str | None:
    for line in (reading.text(host, "/etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(gid):  # noqa: PLR2004 - name:password:number
            return fields[0]
    return None


def _clock(host: Host, folder: str, card: str | None) -> int | None:
    paths = [f"{folder}/{name}" for name in _CLOCKS]
    if card is not None:  # i915
        paths.append(f"{folder}/drm/{card}/gt_RP0_freq_mhz")
    return next(filter(None, (reading.number(host, path) for path in paths)), None)


def _memory(host: Host, folder: str, card: str | None) -> int | None:
    """Return the bytes of a card's own memory: xe tells each tile's, i915 only outside of Linux.

    Sizes of PCI resources are no measure: without a resizable BAR they are 256 MiB of it.
    """
    sizes = [reading.number(host, f"{folder}/{tile}/physical_vram_size_bytes") for tile in _TILES]
    if card is not None:  # Intel's own builds of i915
        sizes.append(reading.number(host, f"{folder}/drm/{card}/lmem_total_bytes"))
    return sum(filter(None, sizes)) or None


def parse(raw: Raw) -> tuple[AcceleratorFacts, ...]:
    """Return Intel's GPUs and NPUs."""
    found = []
    for device in raw.devices:
        kind = _kind(device.pci_class)
        if device.vendor != _INTEL or kind is None or (kind is Device.NPU and not _is_npu(device)):
            continue
        known = (GPUS if kind is Device.GPU else NPUS).get(device.number)
        node = device.node
        mode = node.mode if node is not None else None
        found.append(
            AcceleratorFacts(
                kind=kind,
                pci_address=device.address,
                pci_id=f"8086:{device.number}",
                name=known.name if known else None,
                driver=device.driver,
                node=node.path if node else None,
                node_problem=_problem(device),
                node_group=node.group if node else None,
                node_mode=None if mode is None else f"{mode:04o}",
                platform=known.platform if known else None,
                architecture=known.architecture if known else None,
                integrated=_is_integrated(device) if kind is Device.GPU else None,
                memory=device.memory,
                max_mhz=device.max_mhz,
                firmware=device.firmware,
            )
        )
    return tuple(found)


def _is_npu(device: RawDevice) -> bool:
    if device.number in NPUS or device.driver == _NPU_DRIVER:
        return True
    if device.number in FPGAS or not device.pci_class.startswith(_NPU_CLASS):
        return False
    return device.address.startswith(_OWN_BUS)


def _is_integrated(device: RawDevice) -> bool | None:
    known = GPUS.get(device.number)
    if known is not None:
        return not known.discrete
    if device.memory is not None:
        return False
    return True if device.address == _OWN_GPU else None


def _problem(device: RawDevice) -> str | None:
    if device.node is not None:
        return device.node.problem
    if device.driver is None:
        return "no kernel driver is bound to it"
    return f"its driver {device.driver} made no node"


def parse_foreign(raw: Raw) -> tuple[ForeignFacts, ...]:
    """Return the GPUs of other makers, and their accelerators that take a node of NPUs."""
    found = []
    for device in raw.devices:
        kind = _kind(device.pci_class)
        if device.vendor in {_INTEL, ""} or kind is None:
            continue
        looks = device.node is not None or device.driver in _FOREIGN_NPU_DRIVERS
        if kind is Device.NPU and not looks and not device.pci_class.startswith(_NPU_CLASS):
            continue  # some other signal processor
        found.append(
            ForeignFacts(
                kind=kind,
                pci_address=device.address,
                pci_id=f"{device.vendor.removeprefix('0x')}:{device.number}",
                driver=device.driver,
                node=device.node.path if device.node else None,
            )
        )
    return tuple(found)
