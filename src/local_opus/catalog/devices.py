"""Whether a device of this machine can be used, from the host facts. Pure."""

from __future__ import annotations

from local_opus.devices.chain import chains_of
from local_opus.values import Device, DeviceFacts, HostFacts

#: The PCI vendor as OpenVINO's GPU plugin writes it; another maker's card can be in its list.
_INTEL = "vendor=0x8086"


def openvino_device(facts: HostFacts, device: Device) -> DeviceFacts | None:
    """Return the first of OpenVINO's devices of this kind that is Intel's; "GPU" means "GPU.0"."""
    for found in sorted(facts.openvino.devices, key=lambda one: one.name):
        architecture = str(found.properties.get("DEVICE_ARCHITECTURE", ""))
        foreign = "vendor=" in architecture and _INTEL not in architecture
        if found.name.partition(".")[0] == device.value and not foreign:
            return found
    return None


def problem(facts: HostFacts, device: Device) -> str | None:
    """Return why a device can't be used, None when it can. OpenVINO's own word counts last.

    The CPU needs no word of OpenVINO: it runs on every x86-64 processor.
    """
    if device is Device.CPU:
        if facts.cpu.architecture in {"x86_64", "amd64"}:
            return None
        return f"CPU not usable: it is {facts.cpu.architecture}, not x86-64"
    found = chains_of(facts, device)
    if not found:
        return f"{device.value} not usable: this machine shows no Intel {device.value}"
    if any(chain.openvino_name is not None and chain.broken is None for chain in found):
        return None
    broken = next((chain.broken for chain in found if chain.broken is not None), None)
    evidence = broken.evidence if broken else "the hardware is there, OpenVINO does not list it"
    return f"{device.value} not usable: {evidence}"


def own_memory(facts: HostFacts, device: Device) -> int | None:
    """Return the memory that OpenVINO states for a GPU or NPU, None where it states none."""
    found = openvino_device(facts, device)
    stated = found.properties.get(f"{device.value}_DEVICE_TOTAL_MEM_SIZE") if found else None
    if isinstance(stated, bool) or not isinstance(stated, int | str):
        return None
    return int(stated) if str(stated).isdecimal() and int(stated) > 0 else None


def is_discrete(facts: HostFacts, device: Device) -> bool:
    """Say whether a device has memory of its own, beside the machine's."""
    found = openvino_device(facts, device)
    return "DISCRETE" in str(found.properties.get("DEVICE_TYPE", "")).upper() if found else False
