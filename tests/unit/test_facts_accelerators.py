"""Accelerators in a broken sysfs, and the explanation of what OpenVINO can't use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from local_opus.facts.gaps import gaps

from local_opus.facts import accelerators
from local_opus.values import AcceleratorFacts, DeviceFacts, HostFacts
from machines import MACHINES, host_on, pci_tree, write

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


# -- what OpenVINO can't use -------------------------------------------------------------------

NPU = {"kind": "NPU", "pci_address": "0000:00:0b.0", "pci_id": "8086:7d1d", "name": "NPU", "driver": "intel_vpu",
       "node": "/dev/accel/accel0", "node_problem": None, "node_group": "render"}  # fmt: skip
ARC = {"kind": "GPU", "pci_address": "0000:03:00.0", "pci_id": "8086:e20b", "name": "B580", "driver": "xe",
       "node": "/dev/dri/renderD128", "node_problem": None, "node_group": "render"}  # fmt: skip
DENIED = {"node_problem": "permission denied"}
GONE = {"node_problem": "no such file or directory"}


def host_facts(
    *items: dict[str, object], container: str | None = None, **openvino: object
) -> HostFacts:
    machine = MACHINES["meteor-lake-155h"].golden["facts"]
    return HostFacts.model_validate({
        "cpu": machine["cpu"], "memory": machine["memory"], "accelerators": items,
        "disk": {"path": "/", "total": 1, "free": 1, "free_inodes": None},
        "os": {"id": "debian", "version": "12", "name": "Debian", "kernel": "6", "init": "systemd",
               "systemd_running": True, "container": container, "python": "3.11.7"},
        "openvino": {"version": "2026.4.1", "devices": (), "problem": None, **openvino}})  # fmt: skip


REMEDIES = {
    "no driver": (NPU | {"driver": None, "node": None}, {}, "no kernel driver", "module intel_vpu"),
    "another driver": (ARC | {"driver": "vfio-pci", "node": None}, {}, "driver vfio-pci holds it", "Bind it to xe or i915"),
    "no node": (NPU | {"node": None}, {}, "made no device node", "dmesg | grep intel_vpu"),
    "not in the group": (NPU | DENIED, {}, "accel0: permission denied", "sudo usermod -aG render $USER"),
    "the group of another distribution": (ARC | DENIED | {"node_group": "video"}, {}, "permission denied", "usermod -aG video"),
    "node of root": (NPU | DENIED | {"node_group": "root"}, {}, "permission denied", "udev rule"),
    "udev did not run": (ARC | GONE, {}, "no such file", "udevadm trigger"),
    "container without the node": (ARC | GONE, {"container": "docker"}, "no such file", "`--device /dev/dri`"),
    "container without the group": (ARC | DENIED, {"container": "docker"}, "permission denied", "stat -c %g /dev/dri/renderD128"),
    "busy": (NPU | {"node_problem": "device or resource busy"}, {}, "busy", "dmesg"),
    "no OpenCL": (ARC, {"absent": {"GPU": "libOpenCL.so.1: cannot open"}}, "libOpenCL.so.1", "intel-opencl-icd"),
    "no NPU libraries": (NPU, {"absent": {"NPU": "Unsupported"}}, "does not list it: Unsupported", "intel-level-zero-npu"),
    "the query crashed": (NPU, {"problem": "ended (SIGSEGV)"}, "SIGSEGV", "intel-driver-compiler-npu"),
    "no OpenVINO": (NPU, {"version": None, "problem": "not installed"}, "not installed", "Repair OpenVINO"),
}  # fmt: skip


@pytest.mark.parametrize("case", REMEDIES)
def test_gap(case: str) -> None:
    item, host, reason, remedy = REMEDIES[case]
    (gap,) = gaps(host_facts(item, **host))
    assert reason in gap.reason
    assert remedy in gap.remedy
    assert "\n" not in gap.reason + gap.remedy


def device(name: str, **properties: object) -> DeviceFacts:
    return DeviceFacts.model_validate({"name": name, "full_name": name, "properties": properties})


OTHER = ARC | {"pci_address": "0000:04:00.0", "pci_id": "8086:56a0", "node": "/dev/dri/renderD129"}
MATCHES = {
    "by id": ([ARC, OTHER], [device("GPU", DEVICE_UUID="8680a056050000000000")], ["0000:03:00.0"]),
    "by number, the closed one is missing": ([ARC | DENIED, OTHER], [device("GPU")], ["0000:03:00.0"]),
    "by number, all are there": ([ARC, OTHER], [device("GPU.0"), device("GPU.1")], []),
    "an NVIDIA card is none of ours": (
        [ARC], [device("GPU", DEVICE_ARCHITECTURE="GPU: vendor=0x10de arch=v12")], ["0000:03:00.0"]),
    "a GPU is no NPU": ([ARC, NPU], [device("GPU")], ["0000:00:0b.0"]),
    "more than sysfs shows": ([ARC], [device("GPU.0"), device("GPU.1")], []),
}  # fmt: skip


@pytest.mark.parametrize("case", MATCHES)
def test_matching(case: str) -> None:
    items, devices, missing = MATCHES[case]
    found = gaps(host_facts(*items, devices=devices))
    assert [gap.accelerator.pci_address for gap in found] == missing
