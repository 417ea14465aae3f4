"""The processor where files are missing, malformed or of another architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_opus.errors import ExitCode, MachineCannotError
from local_opus.facts import cpu, gather
from local_opus.facts.cpu import Named
from local_opus.facts.openvino import Raw, parse_cpu
from local_opus.runtime.protocol import Message
from local_opus.values import CpuFacts
from machines import CPU_ONLY, MACHINES, cpu_tree, cpuinfo, host_on, write

ONLINE = "/sys/devices/system/cpu/online"
#: Two cores of an Arm board: no model, no flags in our words, and a last block about the board.
ARM = (
    "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n\n"
    "processor\t: 1\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n\nHardware\t: a board\n"
)


def facts_of(tmp_path: Path, files: dict[str, str | bytes], named: Named | None = None) -> CpuFacts:
    root = write(tmp_path / "root", files)
    return cpu.parse(cpu.read(host_on(root)), *([named] if named else []))


def test_sysfs_is_missing(tmp_path: Path) -> None:
    found = facts_of(tmp_path, {"/proc/cpuinfo": cpuinfo(MACHINES["xeon-amx-two-sockets"].cpu)})
    assert (found.sockets, found.physical_cores, found.logical_cores) == (2, 4, 4)


def test_threads_of_one_core_without_sysfs(tmp_path: Path) -> None:
    found = facts_of(tmp_path, {"/proc/cpuinfo": cpuinfo(MACHINES["amd-ryzen-6800h"].cpu)})
    assert (found.physical_cores, found.logical_cores) == (8, 16)


def test_offline_cores_do_not_count(tmp_path: Path) -> None:
    files = cpu_tree(MACHINES["amd-ryzen-6800h"].cpu) | {ONLINE: "0-3\n"}
    found = facts_of(tmp_path, files)
    assert (found.physical_cores, found.logical_cores, found.usable_cores) == (4, 4, 4.0)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0garbage\n\n:::\n", b"processor\n: :\n"])
def test_cpuinfo_is_empty_or_garbage(content: bytes, tmp_path: Path) -> None:
    found = facts_of(tmp_path, {"/proc/cpuinfo": content, ONLINE: "0-3\n"})
    assert (found.model, found.vendor, found.architecture) == ("unknown", "unknown", "unknown")
    assert (found.logical_cores, found.physical_cores, found.isa) == (4, 4, ())


@pytest.mark.parametrize("online", ["", "0-", "a-b", "5-99999999999", "-3"])
def test_nothing_tells_the_cores(online: str, tmp_path: Path) -> None:
    with pytest.raises(MachineCannotError, match="tells how many cores") as caught:
        facts_of(tmp_path, {"/proc/cpuinfo": "", ONLINE: online})
    assert caught.value.exit_code is ExitCode.MACHINE_CANNOT
    assert "Mount /proc" in caught.value.remedy


def test_an_extension_counts_only_where_every_core_has_it(tmp_path: Path) -> None:
    blocks = "processor: 0\nflags: avx2 avx512f\n\nprocessor: 1\nflags: avx2\n\n"
    assert facts_of(tmp_path, {"/proc/cpuinfo": blocks}).isa == ("avx2",)


def test_one_kind_of_core_alone_is_no_hybrid(tmp_path: Path) -> None:
    files = cpu_tree(MACHINES["amd-ryzen-6800h"].cpu) | {"/sys/devices/cpu_core/cpus": "0-15\n"}
    found = facts_of(tmp_path, files)
    assert (found.performance_cores, found.efficiency_cores) == (None, None)


def test_py_cpuinfo_fills_in_what_the_kernel_does_not_say(tmp_path: Path) -> None:
    named = Named("Cortex-A76", "ARM", "aarch64", frozenset())
    found = facts_of(tmp_path, {"/proc/cpuinfo": ARM}, named)
    assert (found.model, found.vendor, found.architecture) == ("Cortex-A76", "ARM", "aarch64")
    assert found.logical_cores == 2


def test_the_kernel_goes_before_py_cpuinfo(tmp_path: Path) -> None:
    files = cpu_tree(MACHINES["meteor-lake-155h"].cpu)
    found = facts_of(tmp_path, files, Named("other", "other", "other", frozenset({"amx_int8"})))
    assert found == facts_of(tmp_path / "again", files)


@pytest.mark.parametrize(("content", "asked"), [
    (cpuinfo(MACHINES["meteor-lake-155h"].cpu), False), (ARM, True), ("", True)])  # fmt: skip
def test_py_cpuinfo_is_asked_only_when_needed(content: str, asked: bool, tmp_path: Path) -> None:
    root = write(tmp_path / "root", {
        "/proc/cpuinfo": content, ONLINE: "0-1", "/proc/meminfo": "MemTotal: 8 kB\n"})  # fmt: skip
    answer: Message = {**CPU_ONLY, "cpu": {"model": "Neoverse", "flags": ["avx2"]}}
    host = host_on(root, answer)
    found = gather(host, disk_path="/")
    assert [request["cpu_name"] for request in host.processes.asked] == [asked]
    assert (found.cpu.model == "Neoverse") is asked


@pytest.mark.parametrize("said", [None, "x", {"flags": "avx2"}, {"model": None, "flags": [1]}])
def test_another_answer_about_the_processor(said: object) -> None:
    named = parse_cpu(Raw({"cpu": said}, None))
    assert named.model == ""
    assert "avx2" not in named.flags
