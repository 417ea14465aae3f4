"""Host facts: what the machine is. Each module reads texts (read) and understands them (parse)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from local_opus.facts import accelerators, cpu, disk, memory, openvino, system
from local_opus.host import Host
from local_opus.values import AcceleratorFacts, DiskFacts, HostFacts, MemoryFacts, OsFacts

__all__ = ["gather"]

#: Seconds. A device list takes about one on a healthy machine.
PROBE_TIMEOUT = 30.0


def gather(
    host: Host,
    *,
    disk_path: str,
    probe_timeout: float = PROBE_TIMEOUT,
    machine: Host | None = None,
) -> HostFacts:
    """Return the facts of ``host``; ``disk_path`` names the file system to look at.

    ``machine`` is where processor, memory, accelerators and OpenVINO are read: give this
    machine when ``host`` is an image, which has no /proc of its own. Raises MachineCannotError
    when the files do not tell the memory or the number of cores, or the disk can't be read.
    """
    machine = machine or host
    processor = cpu.read(machine)
    # The probe waits in this thread, so that an interrupt reaches it and ends the worker.
    with ThreadPoolExecutor(1) as pool:
        light = pool.submit(_light, host, machine, disk_path)
        probe = openvino.read(
            machine, timeout=probe_timeout, ask_cpu_name=not cpu.names_a_processor(processor)
        )
    memory_facts, disk_facts, os_facts, accelerator_facts = light.result()
    # The registry of facts: a new one is read above or in _light, and gets its line here.
    return HostFacts(
        cpu=cpu.parse(processor, openvino.parse_cpu(probe)),
        memory=memory_facts,
        disk=disk_facts,
        os=os_facts,
        accelerators=accelerator_facts,
        openvino=openvino.parse(probe),
    )


def _light(
    host: Host, machine: Host, disk_path: str
) -> tuple[MemoryFacts, DiskFacts, OsFacts, tuple[AcceleratorFacts, ...]]:
    return (
        memory.parse(memory.read(machine)),
        disk.parse(disk.read(host, disk_path)),
        system.parse(system.read(host)),
        accelerators.parse(accelerators.read(machine)),
    )
