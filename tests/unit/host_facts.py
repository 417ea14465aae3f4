"""Host facts in memory, for what reasons about devices: no tree of files is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from local_opus.values import (
    AcceleratorFacts,
    CpuFacts,
    Device,
    DeviceFacts,
    DiskFacts,
    HostFacts,
    MemoryFacts,
    OpenVinoFacts,
    OsFacts,
)

GIB = 1 << 30


def cpu(model: str = "AMD EPYC", **more: Any) -> CpuFacts:
    return CpuFacts(**{
        "model": model, "vendor": "GenuineIntel", "architecture": "x86_64", "sockets": 1,
        "physical_cores": 4, "logical_cores": 8, "usable_cores": 8.0,
        "performance_cores": None, "efficiency_cores": None, "isa": ("avx2", "fma"), **more,
    })  # fmt: skip


def accelerator(
    kind: str, pci_id: str, address: str = "0000:00:0b.0", **more: Any
) -> AcceleratorFacts:
    return AcceleratorFacts(**{
        "kind": Device(kind), "pci_address": address, "pci_id": f"8086:{pci_id}", "name": None,
        "driver": "x", "node": "/dev/x", "node_problem": None, **more,
    })  # fmt: skip


def device(name: str, full_name: str = "", **properties: Any) -> DeviceFacts:
    return DeviceFacts(name=name, full_name=full_name or name, properties=properties)


def facts(
    devices: Sequence[DeviceFacts] = (),
    *,
    processor: CpuFacts | None = None,
    accelerators: Sequence[AcceleratorFacts] = (),
    absent: dict[str, str] | None = None,
    problem: str | None = None,
) -> HostFacts:
    return HostFacts(
        cpu=processor or cpu(),
        memory=MemoryFacts(total=16 * GIB, available=8 * GIB, cgroup_limit=None),
        disk=DiskFacts(path="/", total=GIB, free=GIB, free_inodes=None),
        os=OsFacts(
            id="debian",
            version="12",
            name="Debian",
            kernel="6.12",
            init="systemd",
            systemd_running=True,
            container=None,
            python="3.11",
        ),
        accelerators=tuple(accelerators),
        openvino=OpenVinoFacts(
            version=None if problem and not devices else "2026.4.1-1",
            devices=tuple(devices),
            problem=problem,
            absent=absent or {},
        ),
    )
