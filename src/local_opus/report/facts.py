"""Host facts for a person: a table that fits in 80 columns. What is not there is not shown."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from local_opus.devices.chain import chains
from local_opus.report import facts_words as words
from local_opus.report.chains import broken_lines
from local_opus.report.facts_json import facts_json, facts_schema, schema_text
from local_opus.values import Device, HostFacts

__all__ = ["facts_json", "facts_schema", "print_facts", "render_facts", "schema_text"]


def print_facts(facts: HostFacts, console: Console | None = None) -> None:
    """Print the facts for a person."""
    (console or Console()).print(render_facts(facts))


def render_facts(facts: HostFacts) -> RenderableType:
    """Return the facts as rich shows them; it fits in 80 columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True, min_width=8)
    table.add_column(overflow="fold")
    _add(table, "CPU", facts.cpu.model, *words.cpu(facts.cpu))
    _add(table, "Memory", *words.memory(facts.memory))
    _add(table, "NUMA", *words.numa(facts.numa))
    _add(table, "Disk", *words.disk(facts.disk))
    _add(table, "Drives", *words.drives(facts.drives), more_style="")
    _add(table, "System", *words.system(facts.os))
    for item in facts.accelerators:
        _add(table, item.kind.value, *words.accelerator(item))
    if not facts.accelerators:
        _add(table, "GPU, NPU", "none of Intel on the PCI bus")
    _add(table, "Others", *words.foreign(facts.foreign), more_style="")
    _add(table, "Drivers", *words.drivers(facts))
    _add_openvino(table, facts)
    return Group(table, *_gap_lines(facts))


def _add(table: Table, name: str, *lines: str, more_style: str = "dim") -> None:
    """Add the lines, the first beside the name; none: add nothing."""
    for number, line in enumerate(lines):
        table.add_row("" if number else name, _text(line, more_style if number else ""))


def _text(line: str, style: str = "") -> Text:
    """Return text without markup and without a stranger's control characters."""
    return Text("".join(letter for letter in line if letter.isprintable()), style=style)


def _add_openvino(table: Table, facts: HostFacts) -> None:
    openvino = facts.openvino
    _add(table, "OpenVINO", (openvino.version or "not usable").partition("-")[0])
    for device in openvino.devices:
        table.add_row("", _text(f"{device.name}: {device.full_name}"))
        if properties := words.properties(device):
            table.add_row("", _text(f"  {properties}", "dim"))
    if openvino.problem:
        table.add_row("", _text(openvino.problem, "red"))


def _gap_lines(facts: HostFacts) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for chain in chains(facts):
        if chain.device is Device.CPU or chain.broken is None:
            continue
        first, *more = broken_lines(chain)
        lines += [Text(), _text(first, "yellow"), *(_text(line) for line in more)]
    return lines
