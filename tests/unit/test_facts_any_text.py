"""No text makes a parser raise anything but its own error."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from local_opus.errors import MachineCannotError
from local_opus.facts import cgroup, cpu, memory, reading, system

#: Arbitrary text, and text made of the pieces that the parsers look for.
TEXT = st.none() | st.text() | st.lists(st.sampled_from([
    "0", "1", "-", ",", ":", "::", "/", "..", "\n", "\n\n", "\t", " ", " - ", "=", '"', "'", "\\", "\\057",
    "cgroup", "cgroup2", "memory", "cpu", "max", "rw", "ID", "processor", "model name", "flags", "core id",
    "physical id", "Cpus_allowed_list", "MemTotal", "MemAvailable", "kB", "4096", "٣", "²"]),
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
