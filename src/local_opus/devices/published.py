"""Which published peaks belong to a device of this machine: by id, by version, by name. Pure."""

from __future__ import annotations

import re

from local_opus.devices.cpu_peaks import computed
from local_opus.devices.figures import Confidence, Figure, Published
from local_opus.devices.gpu_peaks import GPU, GPU_VERSIONS
from local_opus.devices.matching import is_foreign, pci_address, pci_id
from local_opus.devices.peaks import CPU, CPU_MODELS, NPU, NPU_ARCHITECTURES, NPU_IDS, NPU_TILES
from local_opus.values import AcceleratorFacts, Device, DeviceFacts, HostFacts

__all__ = [
    "Confidence",
    "Figure",
    "Published",
    "npu_peak",
    "of_accelerator",
    "platform_of",
    "rated",
]

_VERSION = re.compile(r"arch=v(\d+\.\d+\.\d+)")
#: Names of DEVICE_GOPS's data types, of older releases and of newer ones.
_GOPS = {
    **dict.fromkeys(("int8", "int8_t", "i8"), "int8_tops"),
    **dict.fromkeys(("float16", "f16"), "fp16_tflops"),
    **dict.fromkeys(("float32", "f32"), "fp32_tflops"),
}


def platform_of(facts: HostFacts, device_facts: DeviceFacts) -> Published | None:
    """Return what is published of one of OpenVINO's devices; None where nothing is.

    An integrated GPU's, an NPU's and the CPU's memory bandwidth is that of the machine's memory.
    """
    kind = device_facts.name.partition(".")[0]
    if kind == Device.CPU:
        return of_cpu(facts)
    architecture = _architecture(device_facts)
    if kind == Device.NPU:
        there = [one for one in facts.accelerators if one.kind is Device.NPU]
        known = of_accelerator(there[0]) if len(there) == 1 else None
        known = known or _kept(NPU.get(NPU_ARCHITECTURES.get(architecture, "")))
        return _with_memory(facts, known)
    if kind != Device.GPU or is_foreign(device_facts):
        return None
    device_id = _gpu_id(facts, device_facts)
    if device_id is not None and device_id in GPU:
        return _kept(GPU[device_id])
    version = _VERSION.search(architecture)
    return _kept(GPU_VERSIONS.get(version[1])) if version else None


def rated(facts: HostFacts, device_facts: DeviceFacts) -> Published | None:
    """Return the peaks that a measurement of this very device is held against.

    An NPU's: what OpenVINO computes from the clock that the driver reports, else that formula with
    the kernel's clock, else the table. Others': the table; where it has nothing, DEVICE_GOPS.
    """
    table = platform_of(facts, device_facts)
    kind = device_facts.name.partition(".")[0]
    if kind not in {Device.NPU, Device.GPU} or is_foreign(device_facts):
        return table
    own = _own_peaks(device_facts)
    if kind == Device.NPU and "int8_tops" not in own:
        own |= _by_clock(facts, device_facts)
    base = table or Published(device=Device(kind), platform=device_facts.full_name)
    named = {key: one for key, one in own.items() if kind == Device.NPU or not getattr(base, key)}
    return _kept(base.model_copy(update=named))


def of_accelerator(accelerator: AcceleratorFacts) -> Published | None:
    """Return what is published of a GPU or NPU of the PCI bus, OpenVINO not asked."""
    device_id = accelerator.pci_id.partition(":")[2]
    if accelerator.kind is Device.NPU:
        named = NPU_IDS.get(device_id) or NPU_ARCHITECTURES.get(accelerator.architecture or "")
        return _kept(NPU.get(named or ""))
    return _kept(GPU.get(device_id) or GPU_VERSIONS.get(accelerator.architecture or ""))


def of_cpu(facts: HostFacts) -> Published | None:
    """Return the processor's peaks: what is printed, and for the rest the formula's figures."""
    printed = _printed_of_cpu(facts) or Published(device=Device.CPU, platform=facts.cpu.model)
    rest = {key: one for key, one in computed(facts.cpu).items() if not getattr(printed, key)}
    return _kept(printed.model_copy(update=rest))


def npu_peak(architecture: str, max_mhz: float) -> Figure | None:
    """Return the int8 TOPS of an NPU from its clock: GHz x tiles x operations/clock of a tile.

    As OpenVINO computes DEVICE_GOPS: it follows the clock that the driver reports.
    """
    tiles = NPU_TILES.get(architecture)
    if tiles is None or max_mhz <= 0:
        return None
    count, width = tiles
    return Figure(
        value=round(max_mhz / 1000 * count * width / 1000, 4),
        confidence=Confidence.COMPUTED,
        source=f"{max_mhz / 1000:g} GHz x {count} tiles x {width} operations/clock",
    )


def _printed_of_cpu(facts: HostFacts) -> Published | None:
    return next((CPU[name] for form, name in CPU_MODELS if re.search(form, facts.cpu.model)), None)


def _with_memory(facts: HostFacts, found: Published | None) -> Published | None:
    """Give an NPU whose generation is in several platforms the memory of this processor's."""
    printed = _printed_of_cpu(facts)
    if found is None or found.memory_gbs is not None or printed is None:
        return found
    return found.model_copy(update={"memory_gbs": printed.memory_gbs})


def _kept(found: Published | None) -> Published | None:
    return None if found is None or found.is_empty else found


def _own_peaks(device_facts: DeviceFacts) -> dict[str, Figure]:
    """Return DEVICE_GOPS; zeros (some newer GPUs report them) and strange forms are no figure."""
    gops = device_facts.properties.get("DEVICE_GOPS")
    found: dict[str, Figure] = {}
    for name, value in gops.items() if isinstance(gops, dict) else ():
        key = _GOPS.get(name)
        if key and isinstance(value, int | float) and value > 0:
            found[key] = Figure(
                value=round(value / 1000, 4),
                confidence=Confidence.PUBLISHED,
                source="OpenVINO's DEVICE_GOPS, by the clock that the driver reports",
            )
    return found


def _by_clock(facts: HostFacts, device_facts: DeviceFacts) -> dict[str, Figure]:
    there = [one for one in facts.accelerators if one.kind is Device.NPU]
    if len(there) != 1 or not there[0].max_mhz:
        return {}
    architecture = _architecture(device_facts) or there[0].architecture or ""
    peak = npu_peak(architecture, there[0].max_mhz)
    return {"int8_tops": peak} if peak else {}


def _architecture(device_facts: DeviceFacts) -> str:
    return str(device_facts.properties.get("DEVICE_ARCHITECTURE", ""))


def _gpu_id(facts: HostFacts, device_facts: DeviceFacts) -> str | None:
    """Return the PCI device id: from its UUID, its address, its name, or as the only GPU."""
    stated = pci_id(device_facts)
    if stated is not None:
        return stated.partition(":")[2]
    there = [one for one in facts.accelerators if one.kind is Device.GPU]
    address = pci_address(device_facts)
    there = [one for one in there if one.pci_address == address] or there
    ids = {one.pci_id.partition(":")[2] for one in there}
    if len(ids) == 1:
        return ids.pop()
    return _by_name(device_facts.full_name, ids)


def _by_name(full_name: str, ids: set[str]) -> str | None:
    """Return the one id whose table name stands in OpenVINO's name, "(TM)" and "(R)" left out."""
    plain = re.sub(r"\((?:R|TM)\)", "", full_name)
    fitting = [one for one in sorted(ids) if one in GPU and _names(GPU[one].platform, plain)]
    if fitting:
        return fitting[0]
    integrated = [one for one in sorted(ids) if one in GPU and GPU[one].platform[:3] != "Arc"]
    return integrated[0] if "(iGPU)" in full_name and len(integrated) == 1 else None


def _names(platform: str, full_name: str) -> bool:
    return platform.startswith("Arc ") and re.search(rf"\b{platform}\b", full_name) is not None
