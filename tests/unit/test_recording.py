"""A recorded machine gives the same facts, and says nothing of who owns it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from local_opus.cli import main
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.facts import gather
from local_opus.host import Files, Host
from local_opus.recording import folder, record, scrubbing, take
from local_opus.recording.scrubbing import Scrubber, scrub_openvino
from local_opus.values import HostFacts
from machines import MACHINES, Machine, host_on, machine_host, write
from nobody import as_nobody

TEXTS = {"about.json": "{}\n", "files.json": "{}\n"}


def facts_of(recorded: Path, root: Path) -> HostFacts:
    root.mkdir()
    return gather(machine_host(root, Machine(recorded)), disk_path="/")


def without_disk(facts: HostFacts) -> dict[str, object]:
    return facts.model_dump(mode="json", exclude={"disk"})


@pytest.mark.parametrize("name", MACHINES)
def test_a_recording_of_each_machine_gives_its_facts(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    host = machine_host(root, MACHINES[name])
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    told, texts = take(host)
    for file, text in texts.items():
        (recorded / file).write_text(text)
    assert without_disk(facts_of(recorded, tmp_path / "again")) == without_disk(told)
    before = without_disk(gather(host, disk_path="/"))
    assert {**without_disk(told), "openvino": None} == {**before, "openvino": None}


def test_this_machine_gives_the_facts_that_were_told(tmp_path: Path) -> None:
    told = record(Host(), str(tmp_path / "mine"))
    assert sorted(file.name for file in (tmp_path / "mine").iterdir()) == [
        "about.json", "files.json", "openvino.json"]  # fmt: skip
    assert without_disk(facts_of(tmp_path / "mine", tmp_path / "root")) == without_disk(told)


def test_nothing_in_it_tells_this_machine_from_others(tmp_path: Path) -> None:
    record(Host(), str(tmp_path / "mine"))
    text = "".join(file.read_text() for file in (tmp_path / "mine").iterdir())
    named = [Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"),
             *Path("/sys/class/net").glob("*/address"), *Path("/sys/block").glob("*/serial"),
             *Path("/sys/block").glob("*/device/serial"), *Path("/sys/class/dmi/id").glob("*_serial"),
             *Path("/sys/class/dmi/id").glob("*_uuid")]  # fmt: skip
    secrets = {path.read_text().strip() for path in named if path.exists()} - {
        "",
        "00:00:00:00:00:00",
    }
    secrets |= {os.uname().nodename, str(Path.home()), str(tmp_path)}
    secrets |= {part for line in Path("/proc/self/cgroup").read_text().splitlines()
                for part in line.split(":", 2)[2].split("/") if len(part) > 8}  # fmt: skip
    secrets -= {Path("/proc/1/comm").read_text().strip()}  # a cgroup can have the name of init
    assert [secret for secret in secrets if secret in text and len(secret) > 5] == []
    assert not re.search(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", text)


ID = "3f0c9a7be2d14c55"
PRIVATE = {
    "/proc/1/environ": "API_KEY=hunter2\0container=podman\0PATH=/home/wilma/bin\0",
    "/etc/group": "root:x:0:wilma\nrender:x:105:wilma,bob\nada:x:1000:\nwheel:x:10:wilma\n",
    "/proc/self/cgroup": f"0::/user.slice/user-1000.slice/docker-{ID}.scope\n",
    "/proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n40 1 8:1 / /home/wilma rw - ext4 /dev/sda1 rw\n",
    f"/sys/fs/cgroup/user.slice/user-1000.slice/docker-{ID}.scope/memory.max": "2147483648\n",
    "/proc/self/status": "Name:\tpython\nUid:\t1000\nCpus_allowed_list:\t0\n",
    "/proc/cpuinfo": "processor: 0\nmodel name: A CPU\nflags: avx2 secretflag\nSerial: 100000009a7b\n",
    "/proc/meminfo": "MemTotal: 8388608 kB\n",
    "/etc/os-release": 'ID=debian\nBUG_REPORT_URL="https://wilma.example/bugs"\n',
    "/etc/ld.so.conf.d/own.conf": "# added by wilma\n/home/wilma/lib\n/usr/lib/own\n",
    "/var/lib/dpkg/status": "Package: wilmas-tool\nStatus: install ok installed\nVersion: 1\n\n"
    "Package: libze1\nStatus: install ok installed\nMaintainer: Wilma <wilma@example>\nVersion: 1.28.2\n\n",
    "/proc/modules": "wilmas_module 16384 0 - Live 0x0000\ni915 3000000 1 - Live 0xffffffffc0a00000\n",
    "/var/lib/pacman/local": {"names": ["wilmas-tool-1-1", "ocl-icd-2.3.3-1"]},
}  # fmt: skip
ERROR = 'Cannot load library "/home/wilma/venv/lib/openvino/libs/libopenvino_intel_gpu_plugin.so": no libOpenCL.so.1'


def test_what_is_private_is_left_out_and_the_facts_stay(tmp_path: Path) -> None:
    answer = {
        "version": "1", "problem": None, "absent": {"GPU": ERROR},
        "devices": [{"name": "CPU", "full_name": "A CPU", "unreadable": {},
                     "properties": {"CACHE_DIR": "/home/wilma/cache", "DEVICE_LUID": "409a0000499a0000",
                                    "DEVICE_UUID": "86a0557d080000000002000000000000"}}]}  # fmt: skip
    host = host_on(write(tmp_path / "root", PRIVATE), answer)
    facts, texts = take(host)
    text = "".join(texts.values())
    for secret in (
        "wilma",
        "bob",
        "hunter2",
        ID,
        "user-1000",
        "secretflag",
        "9a7b",
        "409a",
        "86a0",
        "0xffff",
    ):
        assert secret not in text, secret
    assert facts.memory.cgroup_limit == 2 << 30
    assert facts.os.container == "podman"
    assert facts.software.packages == {"libze1": "1.28.2", "ocl-icd": "2.3.3-1"}
    assert facts.software.modules["i915"] == "loaded"
    assert facts.openvino.absent["GPU"].startswith('Cannot load library "libopenvino_intel_gpu')
    properties = facts.openvino.devices[0].properties
    assert properties["DEVICE_LUID"] == "0" * 16
    assert properties["CACHE_DIR"] == "/home/user/cache"
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    for file, content in texts.items():
        (recorded / file).write_text(content)
    assert without_disk(facts_of(recorded, tmp_path / "again")) == without_disk(facts)


@pytest.mark.parametrize(("uuid", "kept"), [
    ("8680557d080000000002000000000000", True),   # a GPU: PCI ids and address
    ("80d1d11eb73811eab3de0242ac130004", True),   # the same for every NPU
    ("1234567890abcdef1234567890abcdef", False)])  # fmt: skip
def test_uuids(uuid: str, kept: bool) -> None:
    found = scrub_openvino({"DEVICE_UUID": uuid}, Scrubber())
    assert (found["DEVICE_UUID"] == uuid) is kept
    assert len(str(found["DEVICE_UUID"])) == len(uuid)


def test_the_home_folder_goes_wherever_it_is() -> None:
    scrubber = Scrubber("/srv/people/wilma")
    assert (
        scrubber.words("/srv/people/wilma/x:/srv/people/wilmar")
        == "/home/user/x:/srv/people/wilmar"
    )


def test_every_node_has_its_mode_group_and_refusal(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    _, texts = take(machine_host(root, MACHINES["lunar-lake-256v"]))
    files = json.loads(texts["files.json"])["files"]
    assert files["/dev/accel/accel0"] == {
        "refused": "permission denied", "mode": "0660", "group": "render"}  # fmt: skip
    assert files["/etc/group"] == "render:x:105:\n"


# -- bad folders -------------------------------------------------------------------------------


def full(path: Path) -> str:
    path.mkdir()
    (path / "mine.txt").write_text("mine")
    return str(path)


def a_file(path: Path) -> str:
    path.write_text("mine")
    return str(path)


def a_dead_link(path: Path) -> str:
    path.symlink_to("nowhere")
    return str(path)


BAD = {
    "not empty": (full, "the folder is not empty"),
    "a file": (a_file, "a file is there"),
    "a link to nothing": (a_dead_link, "a link to nothing is there"),
    "below nothing": (lambda path: f"{path}/below", "there is no such folder"),
    "below a file": (lambda path: f"{a_file(path)}/below", "a file, and no folder"),
    "a name that is too long": (lambda path: str(path.parent / ("x" * 300)), "file name too long"),
    "no name": (lambda _: "", "the folder has no name"),
    "a device": (lambda _: "/dev/null", "a pipe, socket or device is there"),
}  # fmt: skip


def snapshot(path: Path) -> list[tuple[str, str | None]]:
    return sorted((str(one), one.read_text() if one.is_file() else None) for one in path.rglob("*"))


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_refused_before_anything_is_asked(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = BAD[case]
    name = make(tmp_path / "given")
    before = snapshot(tmp_path)
    monkeypatch.setattr("local_opus.recording.gather", lambda *_, **__: pytest.fail("it was asked"))
    assert main(["detect", "--record", name]) == 2
    assert words in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_a_folder_that_this_user_can_not_write_to() -> None:
    where = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    closed = where / "closed"
    try:
        where.chmod(0o755)
        closed.mkdir()
        closed.chmod(0o555)

        def call() -> None:
            for path in (f"{closed}/new", str(closed)):
                with pytest.raises(BadInputError, match="permission denied"):
                    folder.write(Host(), path, TEXTS)

        as_nobody(call)
        assert list(closed.iterdir()) == []
    finally:
        shutil.rmtree(where)


class FullDisk(Files):
    """Has room for one file."""

    written = 0

    def write_atomic(self, path: str, data: bytes, **settings: object) -> None:
        self.written += 1
        if self.written > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        super().write_atomic(path, data)


@pytest.mark.parametrize("there", [False, True])
def test_after_an_error_nothing_is_left(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    if there:
        path.mkdir()
    host = Host()
    host.files = FullDisk("/")
    with pytest.raises(LocalOpusError, match="no space left on device"):
        folder.write(host, str(path), TEXTS)
    assert path.exists() is there
    assert list(tmp_path.rglob("*.json")) == []


def test_an_empty_folder_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine"
    path.mkdir()
    assert main(["detect", "--json", "--record", str(path)]) == 0
    said = capsys.readouterr()
    assert HostFacts.model_validate_json(said.out)
    assert "Recorded in" in said.err
    assert len(list(path.iterdir())) == 3


def test_every_rule_is_for_a_file_that_is_read() -> None:
    rules = Scrubber()._rules
    read = {path for machine in MACHINES.values() for path in machine.tree} | {
        *PRIVATE,
        "/usr/lib/os-release",
    }
    assert set(rules) - read - {"/etc/group"} == set()
    assert scrubbing.__doc__
