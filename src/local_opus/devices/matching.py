"""Which of OpenVINO's devices is which PCI device."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from local_opus.values import AcceleratorFacts, Device, DeviceFacts, HostFacts

#: The PCI vendor as OpenVINO's GPU plugin writes it; another maker's card can be in its list.
_INTEL = "vendor=0x8086"
#: Names of cards whose plugin states no vendor.
_FOREIGN = re.compile(r"\b(nvidia|geforce|amd|radeon)\b", re.IGNORECASE)
#: DEVICE_UUID of Intel's GPU driver begins with vendor and device id, little-endian.
_UUID = re.compile(r"8680([0-9a-f]{2})([0-9a-f]{2})")
#: DEVICE_PCI_INFO: "{domain: 0 bus: 0x3 device: 0 function: 0}"; separators differ by version.
_PCI_INFO = re.compile(
    r"domain: (\w+)\W+bus: (\w+)\W+device: (\w+)\W+function: (\w+)", re.IGNORECASE
)


@dataclass(frozen=True)
class Match:
    """A device of OpenVINO, and what says that it is the PCI device."""

    device: DeviceFacts
    how: str


@dataclass(frozen=True)
class Matching:
    """OpenVINO's devices by PCI address, and those of Intel that no PCI device is known for."""

    by_address: dict[str, Match] = field(default_factory=dict)
    others: tuple[DeviceFacts, ...] = ()


def kind_of(device: DeviceFacts) -> Device | None:
    """Return what a device of OpenVINO is, None for a kind that this program does not know."""
    name = device.name.partition(".")[0]
    return Device(name) if name in Device.__members__ else None


def is_foreign(device: DeviceFacts) -> bool:
    """Say whether a GPU that OpenVINO lists is another maker's."""
    architecture = str(device.properties.get("DEVICE_ARCHITECTURE", ""))
    if "vendor=" in architecture:
        return _INTEL not in architecture
    return kind_of(device) is Device.GPU and _FOREIGN.search(device.full_name) is not None


def match(facts: HostFacts) -> Matching:
    """Match by address where OpenVINO tells it, else by PCI id, else by number.

    By number, a PCI device whose node does not open comes last: it is the one that is missing.
    """
    by_address: dict[str, Match] = {}
    others: list[DeviceFacts] = []
    for kind in (Device.GPU, Device.NPU):
        ours = [item for item in facts.accelerators if item.kind is kind]
        ours.sort(key=lambda item: item.node_problem is not None)
        theirs = [one for one in facts.openvino.devices if kind_of(one) is kind]
        rest = [one for one in theirs if not is_foreign(one)]
        for how, says in (
            ("its PCI address", _same_address),
            ("its PCI id", _same_id),
            ("its number", _may_be),
        ):
            rest = _take(by_address, ours, rest, says, how)
        others += rest
    return Matching(by_address, tuple(others))


def _take(
    found: dict[str, Match],
    ours: Iterable[AcceleratorFacts],
    theirs: Iterable[DeviceFacts],
    says: Callable[[AcceleratorFacts, DeviceFacts], bool],
    how: str,
) -> list[DeviceFacts]:
    rest = []
    for device in theirs:
        free = (one for one in ours if one.pci_address not in found)
        item = next((one for one in free if says(one, device)), None)
        if item is None:
            rest.append(device)
        else:
            found[item.pci_address] = Match(device, how)
    return rest


def _same_address(item: AcceleratorFacts, device: DeviceFacts) -> bool:
    return item.pci_address == pci_address(device)


def pci_address(device: DeviceFacts) -> str | None:
    """Return the PCI address that OpenVINO states of a device; None where it states none."""
    said = _PCI_INFO.search(str(device.properties.get("DEVICE_PCI_INFO", "")))
    if said is None:
        return None
    try:
        domain, bus, slot, function = (int(part, 0) for part in said.groups())
    except ValueError:  # a word that is no number: nothing is told
        return None
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def pci_id(device: DeviceFacts) -> str | None:
    """Return the PCI id of one of Intel's GPUs, from its DEVICE_UUID; None where that tells none.

    Equal cards share it.
    """
    found = _UUID.match(str(device.properties.get("DEVICE_UUID", "")).casefold())
    return f"8086:{found[2]}{found[1]}" if found and kind_of(device) is Device.GPU else None


def _same_id(item: AcceleratorFacts, device: DeviceFacts) -> bool:
    return pci_id(device) == item.pci_id


def _may_be(_item: AcceleratorFacts, device: DeviceFacts) -> bool:
    # A device that names another PCI id is not this one, whatever its number.
    return pci_id(device) is None
