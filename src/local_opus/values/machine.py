"""Host facts: what the machine is. Sizes are bytes."""

from __future__ import annotations

from pydantic import Field, JsonValue

from local_opus.values.base import Device, Value


class CpuFacts(Value):
    """The processor, as the kernel describes it."""

    model: str = Field(description="the processor's own name; 'unknown' where nothing states it")
    vendor: str = Field(description="vendor id, e.g. GenuineIntel; 'unknown' where not stated")
    architecture: str = Field(description="the machine word of uname(2), e.g. x86_64")
    sockets: int = Field(description="processor packages")
    physical_cores: int = Field(description="cores that are online, threads not counted")
    logical_cores: int = Field(description="threads that are online")
    usable_cores: float = Field(description="logical cores within CPU affinity and cgroup quota")
    performance_cores: int | None = Field(description="null: the kernel names no kinds of cores")
    efficiency_cores: int | None = Field(description="null: the kernel names no kinds of cores")
    isa: tuple[str, ...] = Field(
        description="extensions that matter for inference, in the kernel's words: avx2, fma, f16c, "
        "avx_vnni, avx512f, avx512_vnni, avx512_bf16, avx512_fp16, amx_tile, amx_int8, amx_bf16"
    )
    max_mhz: int | None = Field(
        default=None, description="highest frequency of any core in MHz; null: not told"
    )
    scaling_driver: str | None = Field(
        default=None, description="cpufreq's driver, e.g. intel_pstate; null: no frequency scaling"
    )
    governors: tuple[str, ...] = Field(
        default=(), description="cpufreq's governors in use, sorted; empty: no frequency scaling"
    )
    throttled: int | None = Field(
        default=None, description="times since boot that a core was slowed for heat; null: not told"
    )


class MemoryFacts(Value):
    """Memory in bytes."""

    total: int = Field(description="bytes of usable RAM")
    available: int = Field(description="bytes that can be had without swapping")
    cgroup_limit: int | None = Field(
        description="bytes, the lowest limit of the cgroups above this process; null: no limit"
    )
    swap_total: int = Field(default=0, description="bytes of swap space; 0: none")
    swap_free: int = Field(default=0, description="bytes of swap space that are free")
    huge_pages: int = Field(default=0, description="huge pages that are reserved")
    huge_pages_free: int = Field(default=0, description="reserved huge pages that are free")
    huge_page_size: int | None = Field(default=None, description="bytes; null: not told")
    transparent_huge_pages: str | None = Field(
        default=None, description="always, madvise or never; null: not told"
    )

    @property
    def usable(self) -> int:
        """Bytes that a model may count on: available memory within the cgroup's limit."""
        return (
            self.available if self.cgroup_limit is None else min(self.available, self.cgroup_limit)
        )


class NumaFacts(Value):
    """One NUMA node."""

    node: int = Field(description="the kernel's number of it")
    cpus: str = Field(description="its logical cores as a list of the kernel, e.g. 0-3,8")
    memory: int | None = Field(description="bytes; null: not told")


class DriveFacts(Value):
    """One drive, without its serial number."""

    name: str = Field(description="the kernel's name, e.g. nvme0n1")
    model: str | None = Field(description="null: not told")
    size: int = Field(description="bytes")
    kind: str = Field(description="nvme, ssd, hdd or virtual")


class DiskFacts(Value):
    """The file system that holds ``path`` (or its nearest existing parent)."""

    path: str = Field(description="the folder that was asked for; it may not exist yet")
    total: int = Field(description="bytes")
    free: int = Field(description="bytes that an unprivileged user may still write")
    free_inodes: int | None = Field(description="null: this file system does not count them")


class OsFacts(Value):
    """The operating system."""

    id: str = Field(description="ID of os-release(5), e.g. debian; 'linux' where not stated")
    version: str = Field(description="VERSION_ID of os-release(5); empty for rolling releases")
    name: str = Field(description="PRETTY_NAME of os-release(5)")
    kernel: str = Field(description="kernel release; empty where /proc does not tell")
    init: str = Field(description="name of process 1; empty where /proc does not tell")
    systemd_running: bool = Field(description="as sd_booted(3)")
    container: str | None = Field(description="e.g. docker, podman, lxc, wsl; null: none seen")
    python: str = Field(description="version of the interpreter that runs this program")


class AcceleratorFacts(Value):
    """One Intel GPU or NPU as sysfs shows it, and whether this user can open its node."""

    kind: Device
    pci_address: str = Field(description="e.g. 0000:00:02.0")
    pci_id: str = Field(description="vendor:device in hexadecimal, e.g. 8086:7d55")
    name: str | None = Field(description="marketing name; null: the id is not in our table")
    driver: str | None = Field(description="kernel driver that is bound; null: none")
    node: str | None = Field(description="device node, e.g. /dev/dri/renderD128; null: none made")
    node_problem: str | None = Field(description="null: opened; else why not")
    node_group: str | None = Field(default=None, description="owning group; null: none known")
    node_mode: str | None = Field(
        default=None, description="permission bits in octal, e.g. 0660; null: no node"
    )
    platform: str | None = Field(
        default=None, description="e.g. Meteor Lake; null: the id is not in our table"
    )
    architecture: str | None = Field(
        default=None,
        description="NPU: its architecture id, e.g. 3720; GPU: its IP version, e.g. 12.71.4",
    )
    integrated: bool | None = Field(
        default=None, description="a GPU that shares the processor's memory; null: not told"
    )
    memory: int | None = Field(
        default=None, description="bytes of its own; null: it has none, or none is told"
    )
    max_mhz: int | None = Field(default=None, description="highest clock in MHz; null: not told")
    firmware: tuple[str, ...] = Field(
        default=(), description="the firmware files for it that are on this machine"
    )


class ForeignFacts(Value):
    """A GPU or NPU of another maker: its node and name can be taken for Intel's."""

    kind: Device
    pci_address: str = Field(description="e.g. 0000:01:00.0")
    pci_id: str = Field(description="vendor:device in hexadecimal, e.g. 10de:2b85")
    driver: str | None = Field(description="kernel driver that is bound; null: none")
    node: str | None = Field(description="device node; null: none made")


class LibraryFacts(Value):
    """A shared library of the accelerators' user space."""

    path: str = Field(description="where the loader finds it")
    version: str | None = Field(description="of its file's name or its package; null: not told")


class SoftwareFacts(Value):
    """What of the accelerators' software is on this machine."""

    modules: dict[str, str] = Field(
        default={},
        description="i915, xe, intel_vpu: loaded, built in, available, missing, or not told",
    )
    libraries: dict[str, LibraryFacts | None] = Field(
        default={}, description="by soname, e.g. libze_loader.so.1; null: not found"
    )
    icds: dict[str, str] = Field(
        default={}, description="files that name a driver to OpenCL or Level Zero: its library"
    )
    packages: dict[str, str] = Field(
        default={}, description="packages of these drivers that are installed: their versions"
    )


class DeviceFacts(Value):
    """One OpenVINO device with the properties it reports."""

    name: str = Field(description="OpenVINO's name, e.g. CPU, GPU.0, NPU")
    full_name: str = Field(description="FULL_DEVICE_NAME without padding")
    properties: dict[str, JsonValue] = Field(
        description="every property that could be read; types and enumerations as words"
    )
    unreadable: dict[str, str] = Field(default={}, description="properties it refuses: why")


class OpenVinoFacts(Value):
    """What OpenVINO can use."""

    version: str | None = Field(description="null: not installed, or it did not answer")
    devices: tuple[DeviceFacts, ...]
    problem: str | None = Field(
        description="why the query of all devices failed (devices then holds the CPU at most); "
        "null: it did not fail"
    )
    absent: dict[str, str] = Field(default={}, description="GPU, NPU not listed: what it says")


class HostFacts(Value):
    """What the machine is. Sizes are bytes."""

    schema_version: int = Field(default=1, description="grows when a field changes or goes")
    cpu: CpuFacts
    memory: MemoryFacts
    disk: DiskFacts
    os: OsFacts
    accelerators: tuple[AcceleratorFacts, ...] = Field(
        description="Intel GPUs and NPUs on the PCI bus, whether usable or not, by address"
    )
    openvino: OpenVinoFacts
    numa: tuple[NumaFacts, ...] = Field(default=(), description="empty: not told")
    drives: tuple[DriveFacts, ...] = Field(default=(), description="drives, by name")
    foreign: tuple[ForeignFacts, ...] = Field(
        default=(), description="GPUs and NPUs of other makers, by address"
    )
    software: SoftwareFacts = SoftwareFacts()
