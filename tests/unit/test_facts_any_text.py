"""No text makes a parser raise anything but its own error."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from local_opus.errors import MachineCannotError
from local_opus.facts import (
    cgroup,
    cpu,
    drives,
    frequency,
    libraries,
    memory,
    modules,
    numa,
    packages,
    reading,
    system,
)
from local_opus.recording.scrubbing import Scrubber

#: Arbitrary text, and text made of the pieces that the parsers look for.
TEXT = st.none() | st.text() | st.lists(st.sampled_from([
    "0", "1", "-", ",", ":", "::", "/", "..", "\n", "\n\n", "\t", " ", " - ", "=", '"', "'", "\\", "\\057",
    "cgroup", "cgroup2", "memory", "cpu", "max", "rw", "ID", "processor", "model name", "flags", "core id",
    "physical id", "Cpus_allowed_list", "Node 0 ", "Active(file)", "HugePages_Total", "[always]", "/xe.ko", ".zst:", "xe ",
    "live", "Package: libze1", "Status: install ok installed", "Version: ", "container=", "render:x:", "cgroup-1", "#", "\0", "MemTotal", "MemAvailable", "kB", "4096", "٣", "²"]),
    max_size=40).map("".join)  # fmt: skip


@given(TEXT)
def test_cpu_list(text: str | None) -> None:
    numbers = reading.cpu_list(text)
    assert numbers is None or all(0 <= number < reading.MAX_CPUS for number in numbers)


@given(TEXT)
def test_cgroups_stay_below_their_mount(own: str | None) -> None:
    mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
    for folder in cgroup.folders(own, mounts, "memory"):
        assert folder.path.startswith("/sys/fs/cgroup")
        assert ".." not in folder.path.split("/")


@given(TEXT)
def test_no_cgroup_without_its_mount(mounts: str | None) -> None:
    found = cgroup.folders("4:memory:/a\n0::/a\n", mounts, "memory")
    assert not found or "cgroup" in str(mounts)


@given(TEXT, st.lists(st.text(), max_size=3))
def test_memory(meminfo: str | None, limits: list[str]) -> None:
    with suppress(MachineCannotError):
        found = memory.parse(memory.Raw(meminfo, tuple(limits)))
        assert 0 <= found.available <= found.total


@given(TEXT, TEXT, TEXT)
def test_system(release: str | None, kernel: str | None, environment: str | None) -> None:
    found = system.parse(system.Raw(release, kernel, kernel, False, release, (), environment))
    assert (found.id + found.name + found.kernel).isprintable()


@given(TEXT, TEXT, TEXT, st.lists(st.text(), max_size=2))
def test_cpu(
    cpuinfo: str | None, online: str | None, status: str | None, quotas: list[str]
) -> None:
    kinds = {"cpu_core": online or "", "cpu_atom": status or ""}
    threads = (cpu.Thread(0, cpuinfo, status), cpu.Thread(1, None, online))
    with suppress(MachineCannotError):
        found = cpu.parse(cpu.Raw(cpuinfo, None, online, threads, kinds, status, tuple(quotas)))
        assert 0 <= found.usable_cores <= found.logical_cores


@given(TEXT, TEXT, st.lists(st.text(), max_size=2))
def test_memory_without_meminfo(huge: str | None, other: str | None, nodes: list[str]) -> None:
    with suppress(MachineCannotError):
        found = memory.parse(memory.Raw(None, (), huge, (*nodes, other or "")))
        assert 0 <= found.available <= found.total


@given(TEXT, TEXT)
def test_numa_and_drives(text: str | None, other: str | None) -> None:
    for node in numa.parse(numa.Raw(((0, text, other), (1, other, text)))):
        assert node.memory is None or node.memory >= 0
    for drive in drives.parse(drives.Raw((drives.RawDrive(text or "", 8, other, text),))):
        assert (drive.size, drive.kind in {"nvme", "ssd", "hdd", "virtual"}) == (4096, True)


@given(TEXT, TEXT, TEXT)
def test_software(text: str | None, other: str | None, third: str | None) -> None:
    known = modules.RawModule("xe", text is None, other)
    found = modules.parse(modules.Raw((known,), text, other, third))
    assert found["xe"] in {"loaded", "built in", "available", "missing", "not told"}
    installed = packages.parse(packages.Raw(text, (other or "", third or "")))
    assert set(installed) <= packages.NAMES
    raw = libraries.Raw(
        {"libOpenCL.so.1": libraries.RawLibrary("/x", text or "")}, {"/y": other or ""}
    )
    assert "".join(libraries.parse_icds(raw).values()).isprintable()
    assert libraries.parse(raw, installed)["libOpenCL.so.1"] is not None


@given(
    st.lists(st.tuples(st.text(), st.integers(0, 10**9)), max_size=4),
    st.lists(st.integers(0, 10**9)),
)
def test_pace(throttled: list[tuple[str, int]], khz: list[int]) -> None:
    found = frequency.parse(frequency.Raw(tuple(khz), throttled=tuple(throttled)))
    assert found.max_mhz is None or found.max_mhz > 0
    assert (found.throttled is None) is (not throttled)


@given(TEXT, st.sampled_from(sorted(Scrubber()._rules)))
def test_what_a_recording_keeps_is_kept_again(text: str | None, path: str) -> None:
    """A recording of a recorded machine is that recording."""
    first = Scrubber("/srv/ada")
    first.gids = {0, 4096}
    kept = first.text(path, text or "")
    second = Scrubber("/srv/ada")
    second.gids = {0, 4096}
    again = second.text(path, kept)
    if path not in {"/proc/self/cgroup", "/proc/self/mountinfo"}:  # numbered anew, by their order
        assert again == kept
