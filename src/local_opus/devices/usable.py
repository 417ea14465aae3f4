"""Which of OpenVINO's devices can be used, and why others can't, from the host facts. Pure."""

from __future__ import annotations

from local_opus.devices.cards import CARD_MEMORY
from local_opus.devices.chain import chains_of
from local_opus.devices.matching import is_foreign, match
from local_opus.devices.names import kind_of
from local_opus.values import AcceleratorFacts, Device, DeviceChain, DeviceFacts, HostFacts


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
    """Return why a device can't be used, None when it can: what breaks its chain.

    A kind alone ("GPU") can be used where one of it can.

    The CPU needs no word of OpenVINO: it runs on every x86-64 processor.
    """
    device = kind_of(name)
    if device is Device.CPU:
        if facts.cpu.architecture in {"x86_64", "amd64"}:
            return None
        return f"CPU not usable: it is {facts.cpu.architecture}, not x86-64"
    there = [openvino_device(facts, name)] if "." in name else listed(facts, device)
    if names := [found.name for found in there if found is not None]:
        broken_ones = broken_though_listed(facts)
        if any(one not in broken_ones for one in names):
            return None
        return f"{name} not usable: {why(broken_ones[names[0]])}"
    others = listed(facts, device)
    if "." in name and (others or _of_that_name(facts, name) is not None):
        return _not_that_one(facts, name, others)
    first = next(iter(broken(facts, device)), None)
    if first is not None:
        return f"{name} not usable: {why(first)}"
    return f"{name} not usable: this machine shows no Intel {device.value}"


def broken(facts: HostFacts, device: Device) -> list[DeviceChain]:
    """Return the chains of a kind of device that OpenVINO does not list, though it is there."""
    return [one for one in chains_of(facts, device) if one.openvino_name is None]


def broken_though_listed(facts: HostFacts) -> dict[str, DeviceChain]:
    """Return the broken chains of devices that OpenVINO lists, by their names.

    An NPU without its compiler is listed, for one, and no model can run there.
    """
    found = (one for kind in (Device.GPU, Device.NPU) for one in chains_of(facts, kind))
    return {one.openvino_name: one for one in found if one.openvino_name and one.broken}


def why(chain: DeviceChain) -> str:
    """Return what breaks a device's chain, in a line."""
    if (link := chain.broken) is not None:
        return f"{link.name.value}: {link.evidence}"
    return "the hardware is there, OpenVINO does not list it"


def _of_that_name(facts: HostFacts, name: str) -> DeviceFacts | None:
    return next((found for found in facts.openvino.devices if found.name == name), None)


def _not_that_one(facts: HostFacts, name: str, others: list[DeviceFacts]) -> str:
    """Say that a kind of device is there, but not this one of it."""
    foreign = _of_that_name(facts, name)
    what = f"it is {foreign.full_name}, not Intel's" if foreign else "it is not there"
    there = ", ".join(f"{found.name} ({found.full_name})" for found in others)
    return f"{name} not usable: {what}; this machine has {there or 'no GPU of Intel'}"


def accelerator_of(facts: HostFacts, found: DeviceFacts) -> AcceleratorFacts | None:
    """Return what the PCI bus shows of one of OpenVINO's devices; None where that is not known."""
    matched = match(facts).by_address
    return next(
        (
            one
            for one in facts.accelerators
            if one.pci_address in matched and matched[one.pci_address].device == found
        ),
        None,
    )


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
