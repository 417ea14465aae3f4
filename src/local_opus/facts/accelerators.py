"""Intel GPUs and NPUs as the PCI bus in sysfs shows them, and whether their node opens.

OpenVINO leaves out a device it can't use without saying why; a missing library, a missing node
and a missing permission look the same to it. So this looks at each of them itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.facts import reading
from local_opus.facts.pci_ids import GPU_NAMES, NPU_NAMES
from local_opus.host import Host
from local_opus.values import AcceleratorFacts, Device

_DEVICES = "/sys/bus/pci/devices"
_INTEL = "0x8086"
#: PCI base class 03: display controllers.
_DISPLAY = "0x03"
#: PCI class 12, subclass 00: processing accelerators. FPGA cards of Intel have it too.
_PROCESSING = "0x1200"
_NPU_DRIVER = "intel_vpu"
#: Where the driver puts the node's name below the device, and where udev puts the node.
_NODES = {Device.GPU: ("drm", "/dev/dri", re.compile(r"renderD\d+")),
          Device.NPU: ("accel", "/dev/accel", re.compile(r"accel\d+"))}  # fmt: skip


@dataclass(frozen=True)
class RawDevice:
    """One PCI device of Intel: texts of sysfs and what opening its node said."""

    address: str
    device: str
    pci_class: str
    driver: str | None
    node: str | None
    node_problem: str | None
    node_group: str | None


@dataclass(frozen=True)
class Raw:
    """The devices that may be a GPU or an NPU, by address."""

    devices: tuple[RawDevice, ...]


def read(host: Host) -> Raw:
    """Read Intel's display controllers and processing accelerators."""
    found = []
    for address in reading.names(host, _DEVICES):
        folder = f"{_DEVICES}/{address}"
        vendor, device, pci_class = (
            (reading.text(host, f"{folder}/{name}") or "").strip().casefold()
            for name in ("vendor", "device", "class")
        )
        kind = _kind(pci_class)
        if vendor != _INTEL or kind is None:
            continue
        node = _node(host, folder, kind)
        found.append(
            RawDevice(
                address=address,
                device=device,
                pci_class=pci_class,
                driver=reading.link_name(host, f"{folder}/driver"),
                node=node,
                node_problem=host.files.can_open(node) if node else None,
                node_group=_group(host, node) if node else None,
            )
        )
    return Raw(tuple(found))


def _kind(pci_class: str) -> Device | None:
    if pci_class.startswith(_DISPLAY):
        return Device.GPU
    return Device.NPU if pci_class.startswith(_PROCESSING) else None


def _node(host: Host, folder: str, kind: Device) -> str | None:
    below, nodes, pattern = _NODES[kind]
    names = [name for name in reading.names(host, f"{folder}/{below}") if pattern.fullmatch(name)]
    return f"{nodes}/{names[0]}" if names else None


def _group(host: Host, node: str) -> str | None:
    try:
        found = host.files.stat(node, follow=True)
    except OSError:  # its folder can't be searched: can_open says so in words
        return None
    if found is None:
        return None
    for line in (reading.text(host, "/etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(found.gid):  # noqa: PLR2004 - name:password:number
            return fields[0]
    return None


def parse(raw: Raw) -> tuple[AcceleratorFacts, ...]:
    """Return the GPUs and NPUs. A processing accelerator that is no known NPU is left out."""
    found = []
    for device in raw.devices:
        kind = _kind(device.pci_class)
        number = device.device.removeprefix("0x")
        known = number in NPU_NAMES or device.driver == _NPU_DRIVER
        if kind is None or (kind is Device.NPU and not known):
            continue
        found.append(
            AcceleratorFacts(
                kind=kind,
                pci_address=device.address,
                pci_id=f"8086:{number}",
                name=(GPU_NAMES if kind is Device.GPU else NPU_NAMES).get(number),
                driver=device.driver,
                node=device.node,
                node_problem=_problem(device),
                node_group=device.node_group,
            )
        )
    return tuple(found)


def _problem(device: RawDevice) -> str | None:
    if device.node is not None:
        return device.node_problem
    if device.driver is None:
        return "no kernel driver is bound to it"
    return f"its driver {device.driver} made no node"
