"""Accelerators in a broken sysfs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local_opus.facts import accelerators
from local_opus.values import AcceleratorFacts
from machines import host_on, pci_tree, write

ADDRESS = "0000:00:02.0"
FOLDER = f"/sys/devices/pci0000:00/{ADDRESS}"
GPU = {
    "vendor": "0x8086",
    "device": "0x7d55",
    "class": "0x030000",
    "driver": "i915",
    "drm": ["renderD128"],
}


def read(tmp_path: Path, files: dict[str, str | bytes]) -> tuple[AcceleratorFacts, ...]:
    return accelerators.parse(
        accelerators.read(host_on(write(tmp_path / "root", {"/etc/x": "", **files})))
    )


def test_no_sysfs(tmp_path: Path) -> None:
    assert read(tmp_path, {}) == ()


@pytest.mark.parametrize("files", [
    {f"/sys/bus/pci/devices/{ADDRESS}": f"->{ADDRESS}"},
    {f"/sys/bus/pci/devices/{ADDRESS}": "->../../../devices/nowhere"},
    {"/sys/bus/pci/devices/a": "->b", "/sys/bus/pci/devices/b": "->a"},
    {f"/sys/bus/pci/devices/{ADDRESS}/vendor": b"\xff\n"},
    {f"/sys/bus/pci/devices/{ADDRESS}/vendor": "0x8086\n"},
    {"/sys/bus/pci/devices": "a file"},
])  # fmt: skip
def test_loops_dead_links_and_garbage_are_no_device(
    files: dict[str, str | bytes], tmp_path: Path
) -> None:
    assert read(tmp_path, files) == ()


def test_loops_below_a_device_leave_what_is_known(tmp_path: Path) -> None:
    tree: dict[str, Any] = pci_tree({ADDRESS: {**GPU, "driver": None, "drm": []}})
    found = read(tmp_path, tree | {f"{FOLDER}/drm": "->drm", f"{FOLDER}/driver": ""})
    assert [(item.driver, item.node, item.node_problem) for item in found] == [
        (None, None, "no kernel driver is bound to it")
    ]


def test_a_node_that_leads_out_of_the_root(tmp_path: Path) -> None:
    tree: dict[str, Any] = pci_tree({ADDRESS: GPU})
    outside = tmp_path / "outside"
    outside.write_text("")
    found = read(tmp_path, tree | {"/dev/dri/renderD128": f"->{outside}"})
    assert found[0].node_problem == "no such file or directory"


def test_a_driver_that_makes_no_node(tmp_path: Path) -> None:
    found = read(tmp_path, pci_tree({ADDRESS: {**GPU, "driver": "vfio-pci", "drm": []}}))
    assert (found[0].driver, found[0].node_problem) == (
        "vfio-pci",
        "its driver vfio-pci made no node",
    )


def test_other_names_beside_the_node(tmp_path: Path) -> None:
    names = ["by-path", "card1", "controlD64", "renderD129"]
    assert (
        read(tmp_path, pci_tree({ADDRESS: {**GPU, "drm": names}}))[0].node == "/dev/dri/renderD129"
    )


def test_a_device_of_tomorrow(tmp_path: Path) -> None:
    new = {
        "vendor": "0x8086",
        "device": "0xABCD",
        "class": "0x038000",
        "driver": "xe",
        "drm": ["renderD128"],
    }
    npu = {
        "vendor": "0x8086",
        "device": "0xabce",
        "class": "0x120000",
        "driver": "intel_vpu",
        "accel": ["accel0"],
    }
    found = read(tmp_path, pci_tree({ADDRESS: new, "0000:00:0b.0": npu}))
    assert [(item.kind, item.pci_id, item.name) for item in found] == [
        ("GPU", "8086:abcd", None), ("NPU", "8086:abce", None)]  # fmt: skip
