"""Which of OpenVINO's devices can be used, from the host facts. Pure."""

from __future__ import annotations

import re

from local_opus.devices.cards import CARD_MEMORY
from local_opus.devices.names import kind_of
from local_opus.values import AcceleratorFacts, Device, DeviceFacts, HostFacts

#: The PCI vendor as OpenVINO's GPU plugin writes it; another maker's card can be in its list.
_INTEL = "vendor=0x8086"
#: DEVICE_UUID of Intel's GPU driver begins with vendor and device id, little-endian.
_UUID = re.compile(r"8680([0-9a-f]{2})([0-9a-f]{2})")


def is_foreign(found: DeviceFacts) -> bool:
    """Say whether OpenVINO lists another maker's device."""
    architecture = str(found.properties.get("DEVICE_ARCHITECTURE", ""))
    return "vendor=" in architecture and _INTEL not in architecture


def listed(facts: HostFacts, kind: Device | None = None) -> list[DeviceFacts]:
    """Return OpenVINO's devices, of one kind or of all, without those of other makers."""
    kinds = {word.value for word in ([kind] if kind else Device)}
    return [
        found
        for found in sorted(facts.openvino.devices, key=lambda one: one.name)
        if found.name.partition(".")[0] in kinds and not is_foreign(found)
    ]


def openvino_device(facts: HostFacts, name: str) -> DeviceFacts | None:
    """Return the device of this name; of a kind alone ("GPU") the first that is Intel's.

    "GPU.0" is also the only GPU of a machine, which OpenVINO lists as "GPU".
    """
    there = listed(facts, kind_of(name))
    exact = next((found for found in there if found.name == name), None)
    if exact is not None or "." in name:
        only = there[0] if len(there) == 1 and name.endswith(".0") else None
        return exact or (only if only is not None and "." not in only.name else None)
    return there[0] if there else None


def problem(facts: HostFacts, name: str) -> str | None:
    """Return why a device can't be used, None when it can. OpenVINO's own word counts last.

    The CPU needs no word of OpenVINO: it runs on every x86-64 processor.
    """
    device = kind_of(name)
    if device is Device.CPU:
        if facts.cpu.architecture in {"x86_64", "amd64"}:
            return None
        return f"CPU not usable: it is {facts.cpu.architecture}, not x86-64"
    if openvino_device(facts, name) is not None:
        return None
    others = listed(facts, device)
    if "." in name and (others or _of_that_name(facts, name) is not None):
        return _not_that_one(facts, name, others)
    there = [found for found in facts.accelerators if found.kind is device]
    if not there:
        return f"{name} not usable: this machine shows no Intel {device.value}"
    first = there[0]
    if first.driver is None:
        return f"{name} not usable: {first.pci_address} has no driver"
    if first.node is None:
        return f"{name} not usable: its driver {first.driver} made no device node"
    if first.node_problem is not None:
        return f"{name} not usable: {first.node}: {first.node_problem}"
    if facts.openvino.problem is not None:
        return f"{name} not usable: OpenVINO can't be asked: {facts.openvino.problem}"
    return f"{name} not usable: the hardware is there, OpenVINO does not list it"


def _of_that_name(facts: HostFacts, name: str) -> DeviceFacts | None:
    return next((found for found in facts.openvino.devices if found.name == name), None)


def _not_that_one(facts: HostFacts, name: str, others: list[DeviceFacts]) -> str:
    """Say that a kind of device is there, but not this one of it."""
    foreign = _of_that_name(facts, name)
    what = f"it is {foreign.full_name}, not Intel's" if foreign else "it is not there"
    there = ", ".join(f"{found.name} ({found.full_name})" for found in others)
    return f"{name} not usable: {what}; this machine has {there or 'no GPU of Intel'}"


def accelerator_of(facts: HostFacts, found: DeviceFacts) -> AcceleratorFacts | None:
    """Return what the PCI bus shows of one of OpenVINO's devices; None where that is not sure."""
    kind = kind_of(found.name.partition(".")[0])
    there = [one for one in facts.accelerators if one.kind is kind]
    uuid = _UUID.match(str(found.properties.get("DEVICE_UUID", "")).casefold())
    if uuid:
        there = [one for one in there if one.pci_id == f"8086:{uuid[2]}{uuid[1]}"] or there
    if len({one.pci_id for one in there}) == 1:
        return there[0]
    names = listed(facts, kind)  # both are in the order of the bus, the integrated one first
    return there[names.index(found)] if len(names) == len(there) else None


def is_discrete(facts: HostFacts, name: str) -> bool:
    """Say whether a device has memory of its own, beside the machine's."""
    found = openvino_device(facts, name)
    if found is None or kind_of(name) is not Device.GPU:
        return False
    stated = str(found.properties.get("DEVICE_TYPE", "")).upper()
    if "DISCRETE" in stated or "INTEGRATED" in stated:
        return "DISCRETE" in stated
    if found.full_name.endswith(("(dGPU)", "(iGPU)")):
        return found.full_name.endswith("(dGPU)")
    shown = accelerator_of(facts, found)
    return shown is not None and shown.integrated is False


def own_memory(facts: HostFacts, name: str) -> int | None:
    """Return the memory of a GPU or NPU in bytes, None where nothing states it.

    OpenVINO states it, of a card else the kernel does, or the table of cards.
    """
    found = openvino_device(facts, name)
    if found is None:
        return None
    stated = found.properties.get(f"{kind_of(name).value}_DEVICE_TOTAL_MEM_SIZE")
    # True is an int, but not of decimal digits.
    if isinstance(stated, int | str) and str(stated).isdecimal() and int(stated) > 0:
        return int(stated)
    if not is_discrete(facts, name):
        return None
    shown = accelerator_of(facts, found)
    return (shown.memory or CARD_MEMORY.get(shown.pci_id)) if shown is not None else None
