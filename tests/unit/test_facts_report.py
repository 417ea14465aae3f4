"""Host facts on the screen and as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from local_opus.facts import gather
from local_opus.report.facts import facts_json, print_facts, schema_text
from local_opus.values import HostFacts
from machines import CPU_ONLY, MACHINES, host_on, machine_host, write

WRITE_SCHEMA = (
    "it is out of date: run `PYTHONPATH=src python -c 'from local_opus.report.facts import schema_text; "
    'print(schema_text(), end="")\' > docs/detect.schema.json`'
)


def shown(facts: HostFacts, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_facts(facts, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def facts_of(name: str, tmp_path: Path) -> HostFacts:
    root = tmp_path / "root"
    root.mkdir()
    return gather(machine_host(root, MACHINES[name]), disk_path="/var/lib/local-opus/models")


@pytest.mark.parametrize("name", MACHINES)
def test_it_fits_in_80_columns_and_shows_every_part(name: str, tmp_path: Path) -> None:
    facts = facts_of(name, tmp_path)
    text = shown(facts)
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in ("CPU", "Memory", "Disk", "System", "OpenVINO", facts.cpu.model, "2026."):
        assert part in text
    for item in facts.accelerators:
        assert item.pci_address in text
    for device in facts.openvino.devices:
        assert f"{device.name}: {device.full_name}" in text


WORDS = {
    "meteor-lake-155h": ["16 cores (6 performance, 10 efficiency), 22 threads", "avx2 fma f16c avx_vnni",
                         "31 GiB", "runs FP32 FP16 INT8, precision float16, memory 28.4 GiB", "architecture 3720"],
    "lunar-lake-256v": ["NPU Intel AI Boost (Lunar Lake) is not usable: permission: /dev/accel/accel0:",
                        "sudo usermod -aG render $USER"],
    "panther-lake-x7-358h": ["driver none", "has no module intel_vpu"],
    "amd-ryzen-6800h": ["none of Intel on the PCI bus"],
    "amd-epyc-7c13-two-arc-docker": ["in a container (docker)"],
    "xeon-amx-two-sockets": ["2 sockets", "amx_tile amx_int8 amx_bf16"],
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str, tmp_path: Path) -> None:
    text = shown(facts_of(name, tmp_path), width=200)
    assert [words for words in WORDS[name] if words not in text] == []


def test_limits_of_a_cgroup_are_shown(tmp_path: Path) -> None:
    facts = facts_of("meteor-lake-155h", tmp_path)
    held = facts.model_copy(update={
        "memory": facts.memory.model_copy(update={"cgroup_limit": 2 << 30}),
        "cpu": facts.cpu.model_copy(update={"usable_cores": 1.5}),
        "disk": facts.disk.model_copy(update={"free_inodes": 0})})  # fmt: skip
    text = shown(held, width=120)
    for words in ("limited to 2 GiB by a cgroup", "usable here: 1.5", "no inodes left"):
        assert words in text


def test_a_strangers_words_are_no_markup_and_no_escapes(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {
        "/proc/cpuinfo": "processor: 0\nmodel name: [red]\x1b]0;x\x07[/nothing]\nflags: avx2\n",
        "/proc/meminfo": "MemTotal: 1048576 kB\n"})  # fmt: skip
    device = {"name": "CPU", "full_name": "\x1b[2J[bold]", "properties": {}, "unreadable": {}}
    text = shown(gather(host_on(root, {**CPU_ONLY, "devices": [device]}), disk_path="/"))
    assert "[red]" in text
    assert "[/nothing]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_problem_of_openvino_is_shown(tmp_path: Path) -> None:
    root = write(
        tmp_path / "root", {"/proc/cpuinfo": "processor: 0\n", "/proc/meminfo": "MemTotal: 8 kB\n"}
    )
    text = shown(gather(host_on(root, lambda _: "probe ended (SIGSEGV)"), disk_path="/"))
    assert "not usable" in text
    assert "probe ended (SIGSEGV)" in text


def test_the_schema_is_current(checkout: Path) -> None:
    path = checkout / "docs" / "detect.schema.json"
    assert path.read_text() == schema_text(), f"{path}: {WRITE_SCHEMA}"


def test_the_schema_describes_every_field() -> None:
    schema = json.loads(schema_text())
    parts = {"HostFacts": schema, **schema["$defs"]}
    silent = [f"{name}.{field}" for name, part in parts.items()
              for field, about in part.get("properties", {}).items()
              if not about.get("description") and "$ref" not in json.dumps(about)]  # fmt: skip
    assert silent == []


@pytest.mark.parametrize("name", MACHINES)
def test_json_holds_to_the_schema(name: str, tmp_path: Path) -> None:
    facts = facts_of(name, tmp_path)
    schema = json.loads(schema_text())
    found = json.loads(json.dumps(facts_json(facts), allow_nan=False))
    assert set(found) == set(schema["properties"]) == set(schema["required"])
    for part, reference in schema["properties"].items():
        if "$ref" in reference:
            definition = schema["$defs"][reference["$ref"].rpartition("/")[2]]
            assert set(found[part]) == set(definition["properties"])
    assert HostFacts.model_validate(found) == facts
