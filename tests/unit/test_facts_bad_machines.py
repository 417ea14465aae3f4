"""Machines that change while they are read, or hide what they are."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from local_opus.cli import main
from local_opus.devices import matching
from local_opus.devices.chain import chains
from local_opus.errors import MachineCannotError
from local_opus.facts import accelerators, gather
from local_opus.host import FileStat, Host, Space
from local_opus.values import DeviceFacts, HostFacts
from machines import CPU_ONLY, MACHINES, ReplayedFiles, host_on, machine_host, pci_tree, write
from nobody import as_nobody

DISK = "/var/lib/local-opus/models"


class Vanishing(ReplayedFiles):
    """Fails at one path, in whatever way it is read; notes every path that is asked for."""

    gone: str | None = None
    error = errno.ENOENT
    when_read = False
    asked: set[str]

    def _look(self, path: str) -> None:
        self.asked.add(path)
        if path == self.gone:
            raise OSError(self.error, os.strerror(self.error), path)

    def open_read(self, path: str, *, follow: bool = True) -> BinaryIO:
        if self.when_read and path == self.gone:
            return Broken(self.error)
        self._look(path)
        return super().open_read(path, follow=follow)

    def list(self, path: str) -> list[str]:
        self._look(path)
        return super().list(path)

    def read_link(self, path: str) -> str:
        self._look(path)
        return super().read_link(path)

    def stat(self, path: str, *, follow: bool = False) -> FileStat | None:
        self._look(path)
        return super().stat(path, follow=follow)

    def space(self, path: str) -> Space:
        return Space(10**12, 10**11, None)  # the disk is another matter


class Broken(io.BytesIO):
    """A file that opens, and fails when it is read, as files of sysfs do whose device has gone."""

    def __init__(self, error: int) -> None:
        super().__init__()
        self.error = error

    def read(self, _size: int | None = -1) -> bytes:
        raise OSError(self.error, os.strerror(self.error))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Two GPUs and an NPU, with everything that is read, and two cores: it is read many times."""
    given = MACHINES["two-gpus-and-an-npu"]
    host = machine_host(tmp_path_factory.mktemp("root"), given)
    Path(f"{host.root}/sys/devices/system/cpu/online").write_text("0-1\n")
    assert isinstance(host.files, ReplayedFiles)
    files = Vanishing(host.root, host.files.nodes, host.files.groups)
    files.asked = set()
    host.files = files
    return host


@pytest.mark.parametrize(("error", "when_read"), [
    (errno.ENOENT, False), (errno.EACCES, False), (errno.ENODEV, True), (errno.EIO, True)],
    ids=["gone", "closed", "gone when read", "broken when read"])  # fmt: skip
def test_any_entry_may_vanish_while_it_is_read(machine: Host, error: int, when_read: bool) -> None:
    files = machine.files
    assert isinstance(files, Vanishing)
    files.gone, files.error, files.when_read = None, error, when_read
    whole = gather(machine, disk_path=DISK)
    paths = sorted(files.asked)
    assert len(paths) > 100
    needed = []
    for path in paths:
        files.gone = path
        try:
            found = gather(machine, disk_path=DISK)
        except MachineCannotError:
            needed.append(path)
            continue
        # What is lost is what that entry told: no other device goes, none comes.
        theirs = {item.pci_address for item in whole.accelerators}
        left = {item.pci_address for item in found.accelerators}
        assert left <= theirs
        assert all(path == "/sys/bus/pci/devices" or one in path for one in theirs - left)
    files.gone = None
    assert gather(machine, disk_path=DISK) == whole
    # Only the memory's size is told by one file alone: it is never guessed.
    assert needed == ["/proc/meminfo"]


# -- a hidden /proc ------------------------------------------------------------------------------


def test_what_can_still_be_told_where_proc_is_hidden(tmp_path: Path) -> None:
    facts = gather(machine_host(tmp_path, MACHINES["hidden-proc-container"]), disk_path="/")
    assert (facts.cpu.logical_cores, facts.cpu.physical_cores, facts.cpu.usable_cores) == (8, 4, 4)
    assert (facts.cpu.architecture, facts.os.kernel) == ("x86_64", "6.12.60-amd64")
    assert facts.cpu.model == "Intel(R) Core(TM) i7-8650U CPU @ 1.90GHz"  # OpenVINO's word
    assert facts.memory.total == 16_000_000 * 1024
    assert facts.memory.usable == 4 << 30
    assert facts.memory.swap_total > 0


def test_what_hides_the_memory_is_named(tmp_path: Path) -> None:
    files = {"/sys/devices/system/cpu/online": "0-1\n"}
    with pytest.raises(MachineCannotError) as caught:
        gather(host_on(write(tmp_path, files)), disk_path="/")
    assert "/proc/meminfo" in caught.value.message
    assert "ProcSubset" in caught.value.remedy


# -- no permission -------------------------------------------------------------------------------

GPU = {
    "vendor": "0x8086",
    "device": "0x7d55",
    "class": "0x030000",
    "driver": "i915",
    "drm": ["renderD128"],
}


@pytest.mark.parametrize(("close", "mode"), [
    (lambda root: (root / "dev/dri/renderD128").chmod(0o660), "0660"),
    (lambda root: (root / "dev/dri/renderD128").chmod(0o444), "0444"),
    (lambda root: (root / "dev/dri").chmod(0o700), None)], ids=["node", "read-only", "folder"])  # fmt: skip
def test_no_permission_on_the_render_node(close: Callable[[Path], None], mode: str | None) -> None:
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        write(root, {**pci_tree({"0000:00:02.0": GPU}), "/etc/group": "render:x:0:\n"})
        root.chmod(0o755)
        close(root)

        def call() -> None:
            (found,) = accelerators.parse(accelerators.read(Host(str(root), {})))
            assert found.node == "/dev/dri/renderD128"
            assert found.node_problem == "permission denied"
            assert found.node_mode == mode

        as_nobody(call)
    finally:
        shutil.rmtree(root)


# -- a GPU of another maker ------------------------------------------------------------------------


def test_a_foreign_gpu_that_openvino_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from local_opus.report.facts import print_facts

    facts = gather(machine_host(tmp_path, MACHINES["arrow-lake-270k-rtx5090"]), disk_path="/")
    assert [item.pci_id for item in facts.foreign] == ["10de:2b87"]
    assert [item.pci_id for item in facts.accelerators] == ["8086:7d67", "8086:ad1d"]
    assert [chain.openvino_name for chain in chains(facts)] == ["CPU", "GPU.0", "NPU"]
    print_facts(facts)
    text = capsys.readouterr().out
    assert "GPU of NVIDIA" in text
    assert "not of Intel: it is not used" in text


def test_amds_npu_is_not_taken_for_intels(tmp_path: Path) -> None:
    facts = gather(machine_host(tmp_path, MACHINES["amd-ryzen-ai-amdxdna-arc-b580"]), disk_path="/")
    assert [(item.kind, item.node) for item in facts.foreign] == [
        ("GPU", "/dev/dri/renderD128"), ("NPU", "/dev/accel/accel0")]  # fmt: skip
    assert [item.pci_id for item in facts.accelerators] == ["8086:e20b"]


# -- what OpenVINO adds ----------------------------------------------------------------------------


def facts_with(tmp_path: Path, devices: dict[str, object], **properties: object) -> HostFacts:
    device = {"name": "GPU", "full_name": "GPU", "properties": properties, "unreadable": {}}
    files = {
        **pci_tree(devices),
        "/proc/meminfo": "MemTotal: 8 kB\n",
        "/proc/cpuinfo": "processor: 0\n",
    }
    host = host_on(write(tmp_path, files), {**CPU_ONLY, "devices": [device]})
    return gather(host, disk_path="/")


UNKNOWN = {**GPU, "device": "0xabcd"}
CARD = {"0000:03:00.0": UNKNOWN}
ARCHITECTURE = "GPU: vendor=0x8086 arch=v40.0.1"
JOINED = {
    "the only one": (CARD, {"DEVICE_ARCHITECTURE": ARCHITECTURE, "DEVICE_TYPE": "Type.DISCRETE"}, ("40.0.1", False)),
    "by its id": ({**CARD, "0000:04:00.0": GPU}, {"DEVICE_ARCHITECTURE": ARCHITECTURE, "DEVICE_UUID": "8680cdab00000000"}, ("40.0.1", None)),
    "which of two is unknown": ({**CARD, "0000:04:00.0": GPU}, {"DEVICE_ARCHITECTURE": ARCHITECTURE}, (None, None)),
    "another id": (CARD, {"DEVICE_ARCHITECTURE": ARCHITECTURE, "DEVICE_UUID": "8680557d00000000"}, (None, None)),
    "another maker's": (CARD, {"DEVICE_ARCHITECTURE": "GPU: vendor=0x10de arch=v12.0", "DEVICE_TYPE": "Type.DISCRETE"}, (None, None)),
    "no properties": (CARD, {}, (None, None)),
}  # fmt: skip


@pytest.mark.parametrize("case", JOINED)
def test_openvino_tells_what_the_table_lacks(case: str, tmp_path: Path) -> None:
    devices, properties, expected = JOINED[case]
    (found,) = [item for item in facts_with(tmp_path, devices, **properties).accelerators
                if item.pci_id == "8086:abcd"]  # fmt: skip
    assert (found.architecture, found.integrated) == expected


def test_the_table_agrees_with_openvino() -> None:
    """Every architecture and kind that a dump states is the one of our table."""
    compared = 0
    for machine in MACHINES.values():
        facts = machine.golden["facts"]["accelerators"]
        for device in machine.answer["devices"]:
            stated = matching.pci_id(DeviceFacts.model_validate(device))
            for item in facts:
                if item["kind"] == "NPU" == device["name"]:
                    told = device["properties"].get("DEVICE_ARCHITECTURE", item["architecture"])
                    assert item["architecture"] == told
                    compared += 1
                elif stated is not None and item["pci_id"] == stated:
                    words = str(device["properties"].get("DEVICE_ARCHITECTURE", ""))
                    assert words.endswith(f"v{item['architecture']}") or not words
                    kind = {True: "INTEGRATED", False: "DISCRETE"}[item["integrated"]]
                    assert device["properties"].get("DEVICE_TYPE", f"Type.{kind}") == f"Type.{kind}"
                    compared += 1
    assert compared >= 12


def test_a_virtual_machine_without_any(tmp_path: Path) -> None:
    facts = gather(machine_host(tmp_path, MACHINES["vm-without-devices"]), disk_path="/")
    assert facts.accelerators == ()
    assert [chain.name for chain in chains(facts)] == [facts.cpu.model]
    assert set(facts.openvino.absent) == {"GPU", "NPU"}


def test_detect_of_an_option_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "--recrod", "x"]) == 2
    assert "--record" in capsys.readouterr().err


def test_a_word_without_an_end_is_cut(tmp_path: Path) -> None:
    host = machine_host(tmp_path, MACHINES["two-gpus-and-an-npu"])
    for path in tmp_path.rglob("vendor"):
        path.write_text("0" * 10**6)
    assert all(len(one.pci_id) < 10**4 for one in gather(host, disk_path="/").foreign)
