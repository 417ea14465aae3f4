"""The machines of tests/data/machines: each becomes files below a root, and a host on them.

The format is described in tests/data/machines/README.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from local_opus.errors import WorkerError
from local_opus.host import Files, FileStat, Host, Kernel, Memory, Processes
from local_opus.runtime.protocol import Message
from local_opus.values import HostFacts

DATA = Path(__file__).resolve().parent / "data" / "machines"
CPU_ONLY: Message = {
    "version": "2026.4.1",
    "problem": None,
    "devices": [{"name": "CPU", "full_name": "CPU", "properties": {}, "unreadable": {}}],
    "absent": {},
}
#: Numbers of the groups of a machine that gives no /etc/group of its own.
GROUPS = {"root": 0, "video": 44, "render": 105}
#: What OpenVINO 2026.4.1 says of devices that are not there (measured).
ABSENT = {
    "GPU": 'Cannot load library "libopenvino_intel_gpu_plugin.so": libOpenCL.so.1: cannot open '
    "shared object file: No such file or directory",
    "NPU": "Unsupported configuration key: FULL_DEVICE_NAME",
}
Answer = Message | str
Answers = Callable[[Message], Answer]
Tree = dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """One folder of tests/data/machines."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def about(self) -> dict[str, Any]:
        return _load(self.folder / "about.json")

    @cached_property
    def given(self) -> dict[str, Any]:
        return _load(self.folder / "files.json")

    @cached_property
    def cpu(self) -> dict[str, Any]:
        """The processor's short form, with the threads of each core as numbers."""
        given = self.given["cpu"]
        cores = [[int(number) for number in core.split(",")] for core in given["cores"].split()]
        return {**given, "cores": cores}

    @cached_property
    def answer(self) -> Message:
        """What the probe's worker answers."""
        recorded = _load(self.folder / "openvino.json")
        if isinstance(recorded["devices"], list):
            return recorded
        return answer_of_dump(recorded, self.about.get("openvino", {}))

    @property
    def golden_path(self) -> Path:
        return self.folder / "golden.json"

    @property
    def golden(self) -> dict[str, Any]:
        """What must come out of this machine, one key for each kind of answer."""
        return _load(self.golden_path) if self.golden_path.exists() else {}

    def write_golden(self, part: str, value: object) -> None:
        """Put one part of the golden into the file, and leave the others."""
        text = json.dumps({**self.golden, part: value}, indent=1, ensure_ascii=False)
        self.golden_path.write_text(text + "\n")

    @cached_property
    def tree(self) -> Tree:
        """Every file of the machine by its path."""
        given = self.given
        tree: Tree = cpu_tree(self.cpu) if "cpu" in given else {}
        tree |= pci_tree(given.get("pci", {}))
        if "memory" in given:
            lines = (f"{name}: {kb} kB\n" for name, kb in given["memory"].items())
            tree["/proc/meminfo"] = "".join(lines)
        return {**tree, **given.get("nodes", {}), **given.get("files", {})}


def _load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


MACHINES = {path.name: Machine(path) for path in sorted(DATA.iterdir()) if path.is_dir()}


# -- OpenVINO ----------------------------------------------------------------------------------


def answer_of_dump(dump: Mapping[str, Any], more: Mapping[str, Any]) -> Message:
    """Return a recorded dump of properties in the form of the probe's answer.

    ``more`` is ``openvino`` of about.json: what the dump leaves out (``version``, ``add``,
    ``absent``), and what differs on the machine as it is written (``unlisted``).
    """
    devices: dict[str, dict[str, Any]] = dict(dump["devices"])
    names = list(dump.get("available_devices") or devices)
    for name, properties in more.get("add", {}).items():
        devices[name] = {**properties, **devices.get(name, {})}
        names += [name] if name not in names else []
    unlisted = more.get("unlisted", {})
    names = sorted(name for name in names if name not in unlisted)
    absent = {**ABSENT, **more.get("absent", {}), **unlisted}
    kinds = {name.partition(".")[0] for name in names}
    return {
        "version": more.get("version", "2026.4.1"),
        "problem": None,
        "devices": [_device(name, devices.get(name, {})) for name in names],
        "absent": {kind: absent[kind] for kind in ("GPU", "NPU") if kind not in kinds},
    }


def _device(name: str, dumped: Mapping[str, Any]) -> Message:
    refusals = {key: value for key, value in dumped.items()
                if isinstance(value, str) and value.startswith(("ERR ", "EXCEPTION: "))}  # fmt: skip
    properties = {key: value for key, value in dumped.items() if key not in refusals}
    return {"name": name, "full_name": str(properties.get("FULL_DEVICE_NAME", name)),
            "properties": properties, "unreadable": refusals}  # fmt: skip


# -- hosts -------------------------------------------------------------------------------------


class ReplayedFiles(Files):
    """Gives the machine's nodes their mode, group and refusal, whoever runs the tests."""

    def __init__(
        self, root: str, nodes: Mapping[str, Mapping[str, Any]], groups: Mapping[str, int]
    ):
        super().__init__(root)
        self.nodes = nodes
        self.groups = groups

    def can_open(self, path: str) -> str | None:
        refused = self.nodes.get(path, {}).get("refused")
        return refused if refused is not None else super().can_open(path)

    def stat(self, path: str, *, follow: bool = False) -> FileStat | None:
        found = super().stat(path, follow=follow)
        node = self.nodes.get(path)
        if found is None or node is None:
            return found
        group = node.get("group", "render")
        return replace(found, kind="other", mode=int(node.get("mode", "0660"), 8), uid=0,
                       gid=self.groups.get(group, 65534))  # fmt: skip


class ScriptedKernel(Kernel):
    """Answers for the system calls of a machine."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        super().__init__(is_image=True)
        self.said = said

    def release(self) -> str | None:
        return self.said.get("release")

    def machine(self) -> str | None:
        return self.said.get("machine")

    def memory(self) -> Memory | None:
        return Memory(**self.said["memory"]) if self.said.get("memory") else None


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


def host_on(root: Path, answers: Answers | Message = CPU_ONLY) -> Host:
    """Return a host whose files are those below ``root`` and whose probe is scripted."""
    host = Host(str(root), {})
    host.processes = ScriptedProbe(answers if callable(answers) else lambda _: answers)
    return host


def machine_host(root: Path, machine: Machine) -> Host:
    """Return a host on the tree of one machine, written below ``root``."""
    tree = dict(machine.tree)
    nodes = {path: one for path, one in tree.items() if path.startswith("/dev/") and one}
    if "/etc/group" not in tree:
        tree["/etc/group"] = "".join(f"{name}:x:{gid}:\n" for name, gid in GROUPS.items())
    groups = {line.split(":")[0]: int(line.split(":")[2])
              for line in tree["/etc/group"].splitlines()}  # fmt: skip
    write(root, tree)
    host = host_on(root, machine.answer)
    host.files = ReplayedFiles(str(root), nodes, groups)
    host.kernel = ScriptedKernel(machine.given.get("kernel", {}))
    return host


def golden_facts(facts: HostFacts) -> dict[str, Any]:
    """Return the facts as a golden holds them: without what is of this run, or of the input."""
    found = facts.model_dump(mode="json")
    del found["disk"], found["os"]["python"]
    found["openvino"]["devices"] = {one["name"]: one["full_name"]
                                    for one in found["openvino"]["devices"]}  # fmt: skip
    return found


# -- files -------------------------------------------------------------------------------------


def write(root: Path, files: Mapping[str, Any]) -> Path:
    """Write files by their absolute path.

    A text that begins with ``->``, or ``{"link": target}``, becomes a link; ``{"names": [...]}`` a
    folder with these names; anything else in braces a device node, which is an empty file here.
    """
    listed: list[tuple[Path, Iterable[str]]] = []
    for path, content in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif isinstance(content, str) and not content.startswith("->"):
            target.write_text(content)
        elif isinstance(content, str) or "link" in content:
            target.symlink_to(content[2:] if isinstance(content, str) else content["link"])
        elif "names" in content:
            target.mkdir(exist_ok=True)
            listed.append((target, content["names"]))
        else:
            target.touch()
    for folder, names in listed:
        for name in names:
            if not (folder / name).exists() and not (folder / name).is_symlink():
                (folder / name).touch()
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


def cpu_tree(cpu: Mapping[str, Any]) -> Tree:
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
            for path, word in cpu.get("each", {}).items():
                files[f"{base}/cpu{number}/{path}"] = f"{word}\n"
    return files | {f"/sys/devices/{kind}/cpus": f"{cpus}\n" for kind, cpus in cpu["kinds"].items()}


def pci_tree(devices: Mapping[str, Any]) -> Tree:
    """Return the files, links and nodes of PCI devices, linked as sysfs links them."""
    files: Tree = {}
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
                files[f"{nodes}/{name}"] = {"mode": "0660", "group": "render"}
        for path, word in device.get("files", {}).items():
            files[f"{folder}/{path}"] = f"{word}\n"
    return files
