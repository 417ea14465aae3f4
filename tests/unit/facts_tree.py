"""Writes a machine of tests/data/facts as files below a root, and a host that stands on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local_opus.errors import WorkerError
from local_opus.host import Files, Host, Processes
from local_opus.runtime.protocol import Message

DATA = Path(__file__).resolve().parent.parent / "data" / "facts"
MACHINES = {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("*.json"))}
CPU_ONLY: Message = {
    "version": "2026.4.1",
    "problem": None,
    "devices": [{"name": "CPU", "full_name": "CPU", "properties": {}, "unreadable": {}}],
    "absent": {},
}
Answer = Message | str
Answers = Callable[[Message], Answer]


class RefusingFiles(Files):
    """Refuses to open some nodes: root, who may run the tests, is refused nothing."""

    refused: tuple[str, ...] = ()

    def can_open(self, path: str) -> str | None:
        return "permission denied" if path in self.refused else super().can_open(path)


class ScriptedProbe(Processes):
    """Answers for the probe's worker; a text is the error of a worker that failed."""

    def __init__(self, answers: Answers) -> None:
        super().__init__({})
        self.answers = answers
        self.asked: list[Message] = []

    def worker(self, module: str, request: Message, **_settings: object) -> Message:
        assert module == "probe"
        self.asked.append(request)
        answer = self.answers(request)
        if isinstance(answer, str):
            raise WorkerError(answer, "Run it again.")
        return answer


def host_on(
    root: Path, answers: Answers | Message = CPU_ONLY, refused: tuple[str, ...] = ()
) -> Host:
    """Return a host whose files are those below ``root`` and whose probe is scripted."""
    host = Host(str(root), {})
    files = RefusingFiles(str(root))
    files.refused = refused
    host.files = files
    host.processes = ScriptedProbe(answers if callable(answers) else lambda _: answers)
    return host


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files by their absolute path; a text that begins with ``->`` becomes a link."""
    for path, content in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif content.startswith("->"):
            target.symlink_to(content[2:])
        else:
            target.write_text(content)
    return root


def cpuinfo(cpu: Mapping[str, Any]) -> str:
    """Return /proc/cpuinfo: a block for each thread, in the order of their numbers."""
    blocks = {}
    per_package = len(cpu["cores"]) // cpu["packages"]
    for core, threads in enumerate(cpu["cores"]):
        for number in threads:
            fields = {"processor": number, "vendor_id": cpu["vendor_id"],
                      "model name": cpu["model name"], "physical id": core // per_package,
                      "core id": core % per_package, "flags": cpu["flags"]}  # fmt: skip
            blocks[number] = "".join(f"{name}\t: {value}\n" for name, value in fields.items())
    return "".join(f"{blocks[number]}power management:\n\n" for number in sorted(blocks))


def cpu_tree(cpu: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of a processor."""
    last = max(number for threads in cpu["cores"] for number in threads)
    base = "/sys/devices/system/cpu"
    files = {"/proc/cpuinfo": cpuinfo(cpu), f"{base}/online": f"0-{last}\n",
             "/proc/self/status": f"Name:\tpython\nCpus_allowed_list:\t0-{last}\n"}  # fmt: skip
    per_package = len(cpu["cores"]) // cpu["packages"]
    for core, threads in enumerate(cpu["cores"]):
        for number in threads:
            topology = f"{base}/cpu{number}/topology"
            files[f"{topology}/thread_siblings_list"] = ",".join(map(str, threads)) + "\n"
            files[f"{topology}/physical_package_id"] = f"{core // per_package}\n"
    return files | {f"/sys/devices/{kind}/cpus": f"{cpus}\n" for kind, cpus in cpu["kinds"].items()}


def pci_tree(devices: Mapping[str, Any]) -> dict[str, str]:
    """Return the files, links and nodes of PCI devices, linked as sysfs links them."""
    files = {}
    for address, device in devices.items():
        folder = f"/sys/devices/pci0000:00/{address}"
        files[f"/sys/bus/pci/devices/{address}"] = f"->../../../devices/pci0000:00/{address}"
        files |= {f"{folder}/{name}": f"{device[name]}\n" for name in ("vendor", "device", "class")}
        if device["driver"]:
            files[f"/sys/bus/pci/drivers/{device['driver']}/bind"] = ""
            files[f"{folder}/driver"] = f"->../../../bus/pci/drivers/{device['driver']}"
        for kind, nodes in (("drm", "/dev/dri"), ("accel", "/dev/accel")):
            for name in device.get(kind, ()):
                files[f"{folder}/{kind}/{name}/dev"] = "226:0\n"
                files[f"{nodes}/{name}"] = ""
    return files


def machine_host(root: Path, machine: Mapping[str, Any]) -> Host:
    """Return a host on the tree of one machine."""
    files = {**cpu_tree(machine["cpu"]), **pci_tree(machine["pci"])}
    files["/proc/meminfo"] = "".join(
        f"{name}: {kb} kB\n" for name, kb in machine["meminfo"].items()
    )
    files["/etc/os-release"] = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n'
    if "container" in machine:
        files["/run/systemd/container"] = machine["container"]
    write(root, files)
    # Whatever group the tests run as is the one that owns the nodes.
    write(root, {"/etc/group": f"render:x:{(root / 'etc/os-release').stat().st_gid}:\n"})
    return host_on(root, machine["openvino"], tuple(machine.get("refused", ())))
