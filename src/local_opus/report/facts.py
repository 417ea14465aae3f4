"""Host facts for a person (a table for each part) and for a program (JSON, JSON schema)."""

from __future__ import annotations

import json

from pydantic import JsonValue
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from local_opus.devices.chain import chains
from local_opus.report.chains import broken_lines
from local_opus.values import (
    AcceleratorFacts,
    CpuFacts,
    Device,
    DeviceFacts,
    HostFacts,
    MemoryFacts,
)

#: Properties that a person asks for first; --json has them all.
_SHOWN = {
    "OPTIMIZATION_CAPABILITIES": "runs",
    "INFERENCE_PRECISION_HINT": "precision",
    "GPU_DEVICE_TOTAL_MEM_SIZE": "memory",
    "NPU_DEVICE_TOTAL_MEM_SIZE": "memory",
    "DEVICE_ARCHITECTURE": "architecture",
}
#: Words of OPTIMIZATION_CAPABILITIES that are about files and methods, not about numbers.
_NOT_NUMBERS = {"BIN", "EXPORT_IMPORT", "WINOGRAD", "GPU_USM_MEMORY"}
#: DEVICE_ARCHITECTURE of any x86-64 processor.
_EVERY_CPU = "intel64"
_GIB = 1 << 30
_SCHEMA_ID = "detect.schema.json"


def facts_json(facts: HostFacts) -> dict[str, JsonValue]:
    """Return the facts as JSON holds them; ``facts_schema`` describes them."""
    found: dict[str, JsonValue] = facts.model_dump(mode="json")
    return found


def facts_schema() -> dict[str, JsonValue]:
    """Return the JSON schema (2020-12) of ``detect --json``."""
    schema = HostFacts.model_json_schema(mode="serialization")
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:  # what has a default is printed all the same
            part["required"] = list(part["properties"])
    title = "The output of `local-opus detect --json`"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": _SCHEMA_ID,
            **schema, "title": title}  # fmt: skip


def schema_text() -> str:
    """Return the schema as docs/detect.schema.json holds it."""
    return json.dumps(facts_schema(), indent=2) + "\n"


def print_facts(facts: HostFacts, console: Console | None = None) -> None:
    """Print the facts for a person."""
    (console or Console()).print(render_facts(facts))


def render_facts(facts: HostFacts) -> RenderableType:
    """Return the facts as rich shows them; it fits in 80 columns."""
    system, disk = facts.os, facts.disk
    init = "systemd" if system.systemd_running else f"{system.init or 'unknown'} (no systemd)"
    container = f"in a container ({system.container})" if system.container else "no container"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True, min_width=8)
    table.add_column(overflow="fold")
    _add(table, "CPU", facts.cpu.model, *_cpu_lines(facts.cpu))
    _add(table, "Memory", _memory(facts.memory))
    space = f"{_size(disk.free)} free of {_size(disk.total)} for {disk.path}"
    _add(table, "Disk", space, *_inodes(facts))
    _add(table, "System", f"{system.name}, kernel {system.kernel or 'unknown'}",
         f"init {init}, {container}, Python {system.python}")  # fmt: skip
    _add_accelerators(table, facts)
    _add_openvino(table, facts)
    return Group(table, *_gap_lines(facts))


def _add(table: Table, name: str, first: str, *more: str) -> None:
    table.add_row(name, _text(first))
    for line in more:
        table.add_row("", _text(line, "dim"))


def _text(words: str, style: str = "") -> Text:
    """Return text without markup and without a stranger's control characters."""
    return Text("".join(letter for letter in words if letter.isprintable()), style=style)


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"


def _cpu_lines(cpu: CpuFacts) -> list[str]:
    cores = f"{cpu.physical_cores} cores"
    if cpu.performance_cores is not None:
        cores += f" ({cpu.performance_cores} performance, {cpu.efficiency_cores} efficiency)"
    sockets = f", {cpu.sockets} sockets" if cpu.sockets > 1 else ""
    usable = "" if cpu.usable_cores == cpu.logical_cores else f", usable here: {cpu.usable_cores:g}"
    return [f"{cores}, {cpu.logical_cores} threads{sockets}{usable}, {cpu.architecture}",
            " ".join(cpu.isa) or "none of the extensions that speed inference up"]  # fmt: skip


def _memory(memory: MemoryFacts) -> str:
    limit = memory.cgroup_limit
    held = "" if limit is None else f", limited to {_size(limit)} by a cgroup"
    return f"{_size(memory.available)} available of {_size(memory.total)}{held}"


def _inodes(facts: HostFacts) -> list[str]:
    return ["no inodes left: no file can be made"] if facts.disk.free_inodes == 0 else []


def _add_accelerators(table: Table, facts: HostFacts) -> None:
    for item in facts.accelerators:
        kind = item.kind.value
        _add(table, kind, item.name or f"Intel {kind} {item.pci_id}, name unknown", _node(item))
    if not facts.accelerators:
        _add(table, "GPU, NPU", "none of Intel on the PCI bus")


def _node(item: AcceleratorFacts) -> str:
    node = f", {item.node}" if item.node else ""
    return f"{item.pci_address}, {item.pci_id}, driver {item.driver or 'none'}{node}"


def _add_openvino(table: Table, facts: HostFacts) -> None:
    openvino = facts.openvino
    _add(table, "OpenVINO", (openvino.version or "not usable").partition("-")[0])
    for device in openvino.devices:
        table.add_row("", _text(f"{device.name}: {device.full_name}"))
        if properties := _properties(device):
            table.add_row("", _text(f"  {properties}", "dim"))
    if openvino.problem:
        table.add_row("", _text(openvino.problem, "red"))


def _properties(device: DeviceFacts) -> str:
    shown = []
    for name, label in _SHOWN.items():
        value = device.properties.get(name)
        if value in (None, "", _EVERY_CPU):
            continue
        if isinstance(value, list):
            words = " ".join(str(word) for word in value if word not in _NOT_NUMBERS)
        elif name.endswith("MEM_SIZE") and isinstance(value, int):
            words = _size(value)
        else:
            words = str(value).removeprefix("GPU: ")
        shown.append(f"{label} {words}")
    return ", ".join(shown)


def _gap_lines(facts: HostFacts) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for chain in chains(facts):
        if chain.device is Device.CPU or chain.broken is None:
            continue
        first, *more = broken_lines(chain)
        lines += [Text(), _text(first, "yellow"), *(_text(line) for line in more)]
    return lines
