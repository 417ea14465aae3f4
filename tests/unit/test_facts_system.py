"""Memory, disk and system: the good, the missing and the malformed."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_opus.errors import MachineCannotError
from local_opus.facts import disk, gather, memory, system
from local_opus.host import Host
from local_opus.values import MemoryFacts
from machines import MACHINES, host_on, machine_host, write

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian"\nVERSION_ID="12"\nID=debian\n'


@pytest.mark.parametrize("meminfo", [None, b"", b"\0\xff\xfe", b"MemTotal: lots kB\n",
                                     b"MemTotal: 0 kB\n", b"MemFree: 5 kB\n", b"MemTotal: -4 kB\n"])  # fmt: skip
def test_memory_is_never_guessed(meminfo: bytes | None, tmp_path: Path) -> None:
    root = write(
        tmp_path / "root",
        {"/etc/x": "", **({"/proc/meminfo": meminfo} if meminfo is not None else {})},
    )
    with pytest.raises(MachineCannotError, match="/proc/meminfo does not state MemTotal"):
        memory.parse(memory.read(host_on(root)))


@pytest.mark.parametrize(("text", "available"), [
    ("MemTotal: 100 kB\nMemFree: 5 kB\nMemAvailable: 40 kB\n", 40),
    ("MemTotal: 100 kB\nMemFree: 5 kB\n", 5),
    ("MemTotal: 100 kB\nMemAvailable: 400 kB\n", 100),
    ("MemTotal: 100 kB\nMemAvailable: ? kB\n", 0)])  # fmt: skip
def test_available_memory(text: str, available: int) -> None:
    assert memory.parse(memory.Raw(text, ())).available == available * 1024


def test_usable_memory_is_held_by_the_cgroup() -> None:
    assert MemoryFacts(total=10, available=8, cgroup_limit=3).usable == 3
    assert MemoryFacts(total=10, available=8, cgroup_limit=None).usable == 8


OS_RELEASE = {
    "Debian": (DEBIAN, ("debian", "12", "Debian GNU/Linux 12 (bookworm)")),
    "defaults of os-release(5)": ("", ("linux", "", "Linux")),
    "a rolling release": ("ID=arch\nNAME='Arch Linux'\n", ("arch", "", "Arch Linux")),
    "escapes and comments": ('# c\nID=x\nPRETTY_NAME="A \\"B\\" \\$5"\n', ("x", "", 'A "B" $5')),
    "a quote without its end": ('ID=x\nPRETTY_NAME="half\n', ("x", "", "half")),
    "no UTF-8": (b"ID=x\nPRETTY_NAME=\xff\xfeOS\n", ("x", "", "\ufffd\ufffdOS")),
    "terminal escapes": (b"ID=x\nPRETTY_NAME=\x1b[31mred\x07\n", ("x", "", "[31mred")),
    "no lines of ours": ("=\n= =\nID\n\0\n1D=x\n", ("linux", "", "Linux")),
}


@pytest.mark.parametrize("case", OS_RELEASE)
@pytest.mark.parametrize("path", ["/etc/os-release", "/usr/lib/os-release"])
def test_os_release(case: str, path: str, tmp_path: Path) -> None:
    content, expected = OS_RELEASE[case]
    found = system.parse(system.read(host_on(write(tmp_path / "root", {path: content}))))
    assert (found.id, found.version, found.name) == expected


def test_etc_goes_before_usr_lib(tmp_path: Path) -> None:
    files = {"/etc/os-release": "ID=mine\n", "/usr/lib/os-release": "ID=vendor\n"}
    assert system.parse(system.read(host_on(write(tmp_path / "root", files)))).id == "mine"


CONTAINERS = {
    "none": ({}, None),
    "systemd's word": (
        {"/run/systemd/container": "systemd-nspawn\n", "/.dockerenv": ""},
        "systemd-nspawn",
    ),
    "process 1's environment": ({"/proc/1/environ": "A=b\0container=lxc\0"}, "lxc"),
    "an empty word": ({"/proc/1/environ": "container=\0", "/run/systemd/container": "\n"}, None),
    "docker": ({"/.dockerenv": ""}, "docker"),
    "podman": ({"/run/.containerenv": ""}, "podman"),
    "wsl": ({"/proc/sys/kernel/osrelease": "5.15.90.1-microsoft-standard-WSL2\n"}, "wsl"),
}


@pytest.mark.parametrize("case", CONTAINERS)
def test_container(case: str, tmp_path: Path) -> None:
    files, expected = CONTAINERS[case]
    root = write(tmp_path / "root", {"/etc/x": "", **files})
    assert system.parse(system.read(host_on(root))).container == expected


def test_init_and_kernel(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"/proc/1/comm": "systemd\n", "/run/systemd/system/x": "",
                                     "/proc/sys/kernel/osrelease": "6.12.1-amd64\n"})  # fmt: skip
    found = system.parse(system.read(host_on(root)))
    assert (found.init, found.systemd_running, found.kernel) == ("systemd", True, "6.12.1-amd64")


def test_kernel_of_this_machine() -> None:
    # /proc/sys refuses large reads with ENOMEM: a reader that asks for megabytes sees nothing.
    assert (
        system.parse(system.read(Host())).kernel
        == Path("/proc/sys/kernel/osrelease").read_text().strip()
    )


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"/var/lib/x": ""})
    found = disk.parse(disk.read(host_on(root), "/var/lib/local-opus/models"))
    assert found.path == "/var/lib/local-opus/models"
    assert 0 <= found.free <= found.total
    assert found.total > 0


def test_disk_behind_a_loop_of_links(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"/var/a": "->b", "/var/b": "->a"})
    with pytest.raises(MachineCannotError, match="/var/a/models: its free space can't be read"):
        disk.read(host_on(root), "/var/a/models")


def test_an_image_has_the_hardware_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    machine = machine_host(tmp_path / "machine", MACHINES["meteor-lake-155h"])
    image = host_on(write(tmp_path / "image", {"/etc/os-release": "ID=fedora\n"}))
    found = gather(image, disk_path="/var", machine=machine)
    assert (found.os.id, found.cpu.vendor) == ("fedora", "GenuineIntel")
    assert len(found.accelerators) == 2
    assert image.processes.asked == []
