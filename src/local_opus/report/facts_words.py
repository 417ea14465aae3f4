"""Host facts in words: a list of lines for each part, the first says the most."""

from __future__ import annotations

from collections.abc import Iterable

from local_opus.devices.matching import is_foreign
from local_opus.units import size_text
from local_opus.values import (
    AcceleratorFacts,
    CpuFacts,
    Device,
    DeviceFacts,
    DiskFacts,
    DriveFacts,
    ForeignFacts,
    HostFacts,
    MemoryFacts,
    NumaFacts,
    OsFacts,
)

#: Properties that a person asks for first; --json has them all.
_SHOWN = {
    "OPTIMIZATION_CAPABILITIES": "runs",
    "INFERENCE_PRECISION_HINT": "precision",
    "GPU_DEVICE_TOTAL_MEM_SIZE": "memory",
    "NPU_DEVICE_TOTAL_MEM_SIZE": "memory",
}
#: Words of OPTIMIZATION_CAPABILITIES that are about files and methods, not about numbers.
_NOT_NUMBERS = {"BIN", "EXPORT_IMPORT", "WINOGRAD", "GPU_USM_MEMORY", "GPU_HW_MATMUL"}
_MHZ_PER_GHZ = 1000
#: The makers of most GPUs that are not Intel's, by PCI vendor id.
_MAKERS = {"10de": "NVIDIA", "1002": "AMD", "1022": "AMD", "1af4": "a virtual machine",
           "1234": "a virtual machine", "15ad": "a virtual machine", "1a03": "ASPEED"}  # fmt: skip
#: What is shown of the drivers' software, a line each: names, and the packages or else the library
#: that tell the version. (The compute runtime's library is numbered in a way of its own.)
_DRIVERS = (
    (("Level Zero", (), "libze_loader.so.1"), ("OpenCL", (), "libOpenCL.so.1")),
    (("GPU compute runtime", ("intel-opencl-icd", "intel-compute-runtime", "libze-intel-gpu1"),
      "libze_intel_gpu.so.1"),),
    (("NPU driver", (), "libze_intel_npu.so.1"), ("its compiler", (), "libnpu_driver_compiler.so")),
)  # fmt: skip


def _clock(mhz: int) -> str:
    return f"up to {mhz / _MHZ_PER_GHZ:.2f} GHz"


def _joined(*parts: str | None) -> Iterable[str]:
    """Give one line of the parts that are there; none where none is."""
    there = [part for part in parts if part]
    return [", ".join(there)] if there else []


def cpu(cpu: CpuFacts) -> list[str]:
    """Return what stands below the processor's name."""
    cores = f"{cpu.physical_cores} cores"
    if cpu.performance_cores is not None:
        cores += f" ({cpu.performance_cores} performance, {cpu.efficiency_cores} efficiency)"
    sockets = f", {cpu.sockets} sockets" if cpu.sockets > 1 else ""
    usable = "" if cpu.usable_cores == cpu.logical_cores else f", usable here: {cpu.usable_cores:g}"
    driver = f" ({cpu.scaling_driver})" if cpu.scaling_driver else ""
    pace = _joined(
        _clock(cpu.max_mhz) if cpu.max_mhz else None,
        f"governor {' '.join(cpu.governors)}{driver}" if cpu.governors else None,
        f"slowed for heat {cpu.throttled} times" if cpu.throttled else None,
    )
    return [f"{cores}, {cpu.logical_cores} threads{sockets}{usable}, {cpu.architecture}", *pace,
            " ".join(cpu.isa) or "none of the extensions that speed inference up"]  # fmt: skip


def memory(memory: MemoryFacts) -> list[str]:
    """Return what can be used, then swap and huge pages where there are any."""
    limit = memory.cgroup_limit
    held = "" if limit is None else f", limited to {size_text(limit)} by a cgroup"
    swap = f"swap {size_text(memory.swap_free)} free of {size_text(memory.swap_total)}"
    huge = f"{memory.huge_pages} huge pages reserved, {memory.huge_pages_free} of them free"
    more = _joined(swap if memory.swap_total else None, huge if memory.huge_pages else None)
    return [f"{size_text(memory.available)} available of {size_text(memory.total)}{held}", *more]


def numa(nodes: tuple[NumaFacts, ...]) -> list[str]:
    """Return the nodes where there are several."""
    if len(nodes) < 2:  # noqa: PLR2004 - one node is every machine
        return []
    return [f"node {node.node}: {', '.join(_joined(_cpus(node), _memory_of(node)))}"
            for node in nodes]  # fmt: skip


def _cpus(node: NumaFacts) -> str:
    return f"CPUs {node.cpus}" if node.cpus else "no CPUs"


def _memory_of(node: NumaFacts) -> str | None:
    return size_text(node.memory) if node.memory else None


def disk(disk: DiskFacts) -> list[str]:
    """Return the space, and whether a file can be made."""
    inodes = ["no inodes left: no file can be made"] if disk.free_inodes == 0 else []
    return [f"{size_text(disk.free)} free of {size_text(disk.total)} for {disk.path}", *inodes]


def drives(drives: tuple[DriveFacts, ...]) -> list[str]:
    """Return a line for each drive."""
    return [", ".join(_joined(drive.name, drive.model, size_text(drive.size),
                              drive.kind if drive.kind not in drive.name else None))
            for drive in drives]  # fmt: skip


def system(system: OsFacts) -> list[str]:
    """Return the system and what runs it."""
    init = "systemd" if system.systemd_running else f"{system.init or 'unknown'} (no systemd)"
    container = f"in a container ({system.container})" if system.container else "no container"
    return [f"{system.name}, kernel {system.kernel or 'unknown'}",
            f"init {init}, {container}, Python {system.python}"]  # fmt: skip


def accelerator(item: AcceleratorFacts) -> list[str]:
    """Return name, place and kind of one of Intel's GPUs or NPUs."""
    kind = item.kind.value
    where = _joined(item.pci_address, item.pci_id, f"driver {item.driver or 'none'}", item.node)
    version = "architecture" if item.kind is Device.NPU else "IP version"
    integrated = {True: "integrated", False: "discrete", None: None}[item.integrated]
    files = sorted({path.rpartition("/")[2] for path in item.firmware})
    about = _joined(
        integrated,
        f"{size_text(item.memory)} of its own" if item.memory else None,
        f"{version} {item.architecture}" if item.architecture else None,
        _clock(item.max_mhz) if item.max_mhz else None,
    )
    firmware = _joined(f"firmware {' '.join(files)}" if files else None)
    name = item.name or f"Intel {kind} {item.pci_id}, name unknown"
    return [name, *where, *about, *firmware]


def foreign(items: tuple[ForeignFacts, ...]) -> list[str]:
    """Return a line for each GPU or NPU of another maker."""
    return [", ".join(_joined(
        f"{item.kind.value} of {_MAKERS.get(item.pci_id.partition(':')[0], 'another maker')}",
        item.pci_address, item.pci_id, f"driver {item.driver or 'none'}", item.node))
        for item in items]  # fmt: skip


def drivers(facts: HostFacts) -> list[str]:
    """Return the versions of the drivers' software and the modules that count here."""
    software = facts.software
    lines = [
        line for group in _DRIVERS for line in _joined(*(_version(facts, *one) for one in group))
    ]
    modules = [f"{name} {word}" for name, word in software.modules.items()
               if word in {"loaded", "built in"}]  # fmt: skip
    return [*lines, *_joined(f"modules: {', '.join(modules)}" if modules else None)]


def _version(facts: HostFacts, name: str, packages: tuple[str, ...], soname: str) -> str | None:
    library = facts.software.libraries.get(soname)
    if library is None:
        return None
    installed = facts.software.packages
    told = next((installed[one] for one in packages if one in installed), None)
    return f"{name} {told or library.version or '(version not told)'}"


def properties(device: DeviceFacts) -> str:
    """Return the properties of one of OpenVINO's devices that a person asks for first."""
    shown = ["not of Intel: it is not used"] if is_foreign(device) else []
    for name, label in _SHOWN.items():
        value = device.properties.get(name)
        if value in (None, ""):
            continue
        if isinstance(value, list):
            said = " ".join(str(word) for word in value if word not in _NOT_NUMBERS)
        elif name.endswith("MEM_SIZE") and isinstance(value, int):
            said = size_text(value)
        else:
            said = str(value)
        shown.append(f"{label} {said}")
    return ", ".join(shown)
