"""Host facts: what the machine is. Each module reads texts (read) and understands them (parse)."""

from __future__ import annotations

from typing import TypedDict

from local_opus.facts import (
    accelerators,
    cpu,
    disk,
    drives,
    memory,
    numa,
    openvino,
    software,
    system,
)
from local_opus.facts.joining import join
from local_opus.host import BegunWorker, Host
from local_opus.probing import TIMEOUT
from local_opus.values import (
    AcceleratorFacts,
    DiskFacts,
    DriveFacts,
    ForeignFacts,
    HostFacts,
    MemoryFacts,
    NumaFacts,
    OsFacts,
    SoftwareFacts,
)

__all__ = ["gather"]


def gather(
    host: Host,
    *,
    disk_path: str,
    probe_timeout: float = TIMEOUT,
    machine: Host | None = None,
    begun: BegunWorker | None = None,
) -> HostFacts:
    """Return the facts of ``host``; ``disk_path`` names the file system to look at.

    ``machine`` is where processor, memory, accelerators and OpenVINO are read: give this
    machine when ``host`` is an image, which has no /proc of its own. ``begun`` is a probe that runs
    already (``probing.begin``). Raises MachineCannotError when the files do not tell the memory or
    the number of cores, or the disk can't be read.
    """
    machine = machine or host
    processor = cpu.read(machine)
    ask_cpu_name = not cpu.names_a_processor(processor)

    def ask() -> openvino.Raw:
        return openvino.read(machine, timeout=probe_timeout, ask_cpu_name=ask_cpu_name, begun=begun)

    if begun is not None:
        found = _light(host, machine, disk_path)
        probe = ask()
    else:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - detect does without

        # The probe waits in this thread, so that an interrupt reaches it and ends the worker.
        with ThreadPoolExecutor(1) as pool:
            light = pool.submit(_light, host, machine, disk_path)
            probe = ask()
        found = light.result()
    usable = openvino.parse(probe)
    return HostFacts(
        cpu=cpu.parse(processor, openvino.parse_cpu(probe, usable)),
        memory=found["memory"],
        disk=found["disk"],
        os=found["os"],
        accelerators=join(found["accelerators"], usable),
        openvino=usable,
        numa=found["numa"],
        drives=found["drives"],
        foreign=found["foreign"],
        software=found["software"],
    )


class _Light(TypedDict):
    """The registry of facts: what is read from files, by the names that HostFacts has for it."""

    memory: MemoryFacts
    disk: DiskFacts
    os: OsFacts
    accelerators: tuple[AcceleratorFacts, ...]
    foreign: tuple[ForeignFacts, ...]
    numa: tuple[NumaFacts, ...]
    drives: tuple[DriveFacts, ...]
    software: SoftwareFacts


def _light(host: Host, machine: Host, disk_path: str) -> _Light:
    bus = accelerators.read(machine)
    return {
        "memory": memory.parse(memory.read(machine)),
        "disk": disk.parse(disk.read(host, disk_path)),
        "os": system.parse(system.read(host)),
        "accelerators": accelerators.parse(bus),
        "foreign": accelerators.parse_foreign(bus),
        "numa": numa.parse(numa.read(machine)),
        "drives": drives.parse(drives.read(machine)),
        "software": software.parse(software.read(machine)),
    }
