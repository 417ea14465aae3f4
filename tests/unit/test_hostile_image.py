"""Installs into images that mean harm, and their way back: all stays inside, or fails by name."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import JsonValue

import hostile
from builders import wheel_model
from fakes import FakeHost
from hostile import Image, snapshot
from local_opus import install, planner, profiles, uninstall
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.errors import LocalOpusError
from local_opus.history import Event
from local_opus.host import Completed, Host
from local_opus.interpreter import Interpreter
from local_opus.journal import Journal
from local_opus.locations import locate
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.values import Scope

PLACES = locate(Scope.SYSTEM, {})
PYTHON = "/usr/bin/python3.11"
PROGRAM = planner.ProgramFacts(
    locks=dict.fromkeys(planner.LOCKS.values(), "1" * 64),
    program_sha256="f" * 64,
    python=Interpreter(PYTHON, "3.11"),
)


class ImageHost(FakeHost):
    """Real files; venv makes its folder at the path that it is told, as the real one would."""

    is_image = True  # type: ignore[assignment]

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.processes.answers = {"python3.11": self.venv}
        self.files.sync_all = lambda: None  # type: ignore[method-assign]

    @staticmethod
    def venv(command: Sequence[str]) -> Completed:
        os.makedirs(f"{command[-1]}/bin", exist_ok=True)
        os.symlink(PYTHON, f"{command[-1]}/bin/python")
        return Completed(0, "", "")


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    monkeypatch.setattr("local_opus.program.files", lambda: [("__init__.py", b"")])
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # no power is lost here
    return hostile.make(tmp_path)


def choice() -> install.Choice:
    profile = profiles.load("external-api", lambda path: path)
    plan = planner.plan(planner.Request(
        profile=profile, model=None, device=None, locations=PLACES, root="/image", is_image=True, systemd=False,
        program=PROGRAM, templates=install.templates(), port=8000,
    ))  # fmt: skip
    return install.Choice(profile, None, None, None, PLACES, 8000, plan)  # type: ignore[arg-type]


@pytest.mark.parametrize(("prepare", "named"), hostile.PLACES.values(), ids=hostile.PLACES)
def test_an_install_and_its_way_back(image, prepare, named):
    try:
        prepare(image)
    except PermissionError:
        pytest.skip("this user can't make a device")
    outside, inside = snapshot(image.outside), set(snapshot(image.root))
    host = ImageHost(image.root)
    try:
        install.install(host, choice(), QuietReporter())
    except (LocalOpusError, OSError) as error:
        what = error.message if isinstance(error, LocalOpusError) else str(error.filename)
        assert named is not None, what
        assert named in what
    else:
        assert named is None
        assert host.files.read_text("/usr/local/bin/local-opus").startswith("#!/bin/sh")
        uninstall.uninstall(host, PLACES, purge=True, tell=QuietReporter())
    assert snapshot(image.outside) == outside
    left = set(snapshot(image.root)) - inside
    assert {name for name in left if not name.startswith(hostile.STATE)} == set()
    assert {Path(name).name for name in left} <= {
        "local-opus",
        "receipt.jsonl",
        "receipt.head",
        "lock",
    }


@pytest.mark.parametrize(("prepare", "named"), hostile.PLACES.values(), ids=hostile.PLACES)
def test_an_uninstall_alone(image, prepare, named):
    try:
        prepare(image)
    except PermissionError:
        pytest.skip("this user can't make a device")
    outside = snapshot(image.outside)
    try:
        uninstall.uninstall(ImageHost(image.root), PLACES, purge=True, tell=QuietReporter())
    except (LocalOpusError, OSError) as error:
        what = error.message if isinstance(error, LocalOpusError) else str(error.filename)
        assert named is not None, what
        assert named in what
    assert snapshot(image.outside) == outside


OUT = "/opt/local-opus/out"
UNIT = {
    "path": f"{OUT}/local-opus.service",
    "content": "x",
    "mode": 0o644,
    "scope": "system",
}
ENV = {"folder": f"{OUT}/env", "lock": "requirements.lock", "lock_sha256": "a" * 64,
       "program_sha256": "a" * 64, "interpreter": PYTHON, "python": "3.11"}  # fmt: skip
CONTENT = {"existed": True, "content": "ZXZpbA==", "mode": 0o777, "uid": 0, "gid": 0}
#: What a receipt in the image says was done: kind, parameters, what was there before.
RECEIPTS = {
    "a file by a link": ("write_file", {"path": f"{OUT}/group", "content": "x", "mode": 420}, CONTENT),
    "a new file by a link": ("write_file", {"path": f"{OUT}/new", "content": "x", "mode": 420}, CONTENT),
    "a file to remove": ("write_file", {"path": f"{OUT}/group", "content": "x", "mode": 420}, {"existed": False}),
    "a file by dots": ("write_file", {"path": "/opt/local-opus/../../../outside/group", "content": "x", "mode": 420}, CONTENT),
    "a file of the host": ("write_file", {"path": "/etc/passwd", "content": "x", "mode": 420}, CONTENT),
    "a folder by a link": ("create_folder", {"path": f"{OUT}/bin", "mode": 493}, {"mode": 0o777, "uid": 1, "gid": 1}),
    "folders elsewhere": ("create_folder", {"path": "/opt/local-opus", "mode": 493}, {"missing": ["/var/empty", "/../outside/lib/local-opus"]}),
    "a link by a link": ("link_command", {"path": f"{OUT}/group", "target": "x"}, {"target": None}),
    "an environment by a link": ("create_environment", ENV, {"existed": False}),
    "an environment that is a link": ("create_environment", {**ENV, "folder": OUT}, {"existed": False}),
    "a unit by a link": ("install_unit", UNIT, CONTENT),
    "weights by a link": ("fetch_weights", {"model": {}, "store": OUT}, {}),
    "a group that is an option": ("create_group", {"name": "--root=/"}, {"existed": False}),
}  # fmt: skip


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize(("kind", "params", "before"), RECEIPTS.values(), ids=RECEIPTS)
def test_a_receipt_that_names_what_is_outside(image, kind, params, before, absolute):
    (image.root / "opt/local-opus").mkdir()
    (image.root / "var/empty").mkdir()
    target = image.outside if absolute else "../../../outside"
    (image.root / "opt/local-opus/out").symlink_to(target)
    image.state()
    host = ImageHost(image.root)
    receipt = Receipt(host, PLACES.receipt)
    receipt.append(Event.RUN, data={"made": ["/../outside/lib/local-opus", "/var/empty"]})
    receipt.append(
        Event.BEGIN, id="x", kind=kind, params=params, data={"before": before, "found": before}
    )
    outside = snapshot(image.outside)
    with suppress(LocalOpusError, OSError):  # which of them: as the walk ends, inside
        uninstall.uninstall(host, PLACES, purge=True, tell=QuietReporter())
    assert snapshot(image.outside) == outside
    assert (image.root / "var/empty").is_dir()
    assert host.processes.calls == []


def test_a_process_that_an_image_names_is_not_ended(image):
    """Its PID file and its /proc name one of this machine, in every detail."""
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            stat = Path(f"/proc/{child.pid}/stat").read_text()
            proc = image.root / f"proc/{child.pid}"
            proc.mkdir(parents=True)
            (proc / "stat").write_text(stat)
            (proc / "cmdline").write_text("local-opus")
            started = stat.rpartition(")")[2].split()[19]
            (image.root / "run/local-opus").mkdir()
            record = f'{{"pid": {child.pid}, "started": "{started}"}}'
            (image.root / "run/local-opus/server.pid").write_text(record)
            image.state()
            host = Host(str(image.root), {})
            receipt = Receipt(host, PLACES.receipt)
            receipt.append(Event.RUN, data={})
            params = {"scope": "system", "command": ["/bin/sh"], "inputs_sha256": "a" * 64}
            before = {"command": None}
            data = {"before": before, "found": before}
            receipt.append(Event.BEGIN, id="server", kind="start_server", params=params, data=data)
            uninstall.uninstall(host, PLACES, purge=False, tell=QuietReporter())
            assert child.poll() is None
        finally:
            child.kill()


TRIAL = {"scope": "system", "configs": {}, "group": None, "unit": None, "command": ["x"],
         "config": "/etc/local-opus/trial", "runtime": "/run/local-opus/trial",
         "logs": "/var/log/local-opus/trial", "units": "/etc/systemd/system", "device": "CPU",
         "model": wheel_model(b"x").model_dump(mode="json"), "model_folder": "/var/lib/local-opus/models/x",
         "port": 8001, "memory": 1}  # fmt: skip
SERVER = {"scope": "system", "command": ["x"], "inputs_sha256": "a" * 64}
UNIT_OF_SYSTEMD = {"scope": "system", "inputs_sha256": "a" * 64}
#: What a receipt in the image says was begun, and what it says ran before, to be started again.
RESUMED: dict[str, tuple[str, dict[str, JsonValue], dict[str, JsonValue], bool]] = {
    "a trial": ("try_server", TRIAL, {"serving": True}, True),
    "a trial under systemd": ("try_server", {**TRIAL, "unit": "x"}, {"serving": True}, True),
    "a server": ("start_server", SERVER, {}, False),
    "a service": ("enable_service", UNIT_OF_SYSTEMD, {"active": "active"}, False),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "params", "found", "transient"), RESUMED.values(), ids=RESUMED)
def test_what_an_image_says_ran_before_is_not_started_here(
    image, monkeypatch, kind, params, found, transient
):
    ran: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *what, **_: ran.append(what))
    for folder in ("etc/local-opus", "run/local-opus", "var/log/local-opus", "etc/systemd/system"):
        (image.root / folder).mkdir(parents=True)
    image.state()
    host = Host(str(image.root), {"PATH": "/usr/bin:/bin"})
    receipt = Receipt(host, PLACES.receipt)
    receipt.append(Event.RUN, data={})
    command = {"command": ["/bin/sh", "-c", "true"]}
    data = {"before": {}, "found": {**command, **found}, "transient": transient}
    receipt.append(Event.BEGIN, id="x", kind=kind, params=params, data=data)

    def fails() -> dict[str, JsonValue]:
        raise LocalOpusError("the self-test fails", "look")

    applier = Applier(Journal(host, Receipt(host, PLACES.receipt), build, PLACES.roots))
    with pytest.raises(LocalOpusError, match="self-test fails") as caught:  # and is rolled back
        applier.apply(choice().plan.model_copy(update={"actions": ()}), {}, fails)
    assert caught.value.details == ()
    assert ran == []


@pytest.mark.parametrize(
    "do",
    [
        lambda host: host.processes.start_detached(["true"], log="/dev/null", record=print),
        lambda host: host.processes.signal(os.getpid(), 0),
        lambda host: host.services.do(Scope.SYSTEM, "stop", "x.service"),
        lambda host: host.services.start(Scope.SYSTEM, "x.service", print),
        lambda host: host.services.properties(Scope.SYSTEM, "x.service", "MainPID"),
    ],
    ids=["start", "signal", "systemctl", "start a unit", "ask for a unit"],
)
def test_the_door_of_an_image_starts_and_ends_nothing_here(image, monkeypatch, do):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something was run"))
    with pytest.raises(LocalOpusError, match="nothing that it holds is started or ended here"):
        do(Host(str(image.root), {}))


GROUP = build("create_group", {"name": "local-opus"})
GROUPS = {
    "etc out": (lambda it: (it.root / "etc").rename(it.root / "etc-0"), "etc"),
    "group out": (lambda it: hostile.replaced(it.root / "etc/group", it.outside / "group"), "group"),
    "gshadow out": (lambda it: (it.root / "etc/gshadow").symlink_to("/etc/gshadow"), "gshadow"),
    "lock out": (lambda it: (it.root / "etc/.pwd.lock").symlink_to(it.outside / "lock"), ".pwd.lock"),
    "backup out": (lambda it: (it.root / "etc/group-").symlink_to(it.outside / "group"), "group-"),
}  # fmt: skip


@pytest.mark.parametrize(("prepare", "named"), GROUPS.values(), ids=GROUPS)
def test_groupadd_is_not_let_out(image, prepare, named):
    prepare(image)
    if named == "etc":
        (image.root / "etc").symlink_to("/etc-0")
    host = ImageHost(image.root)
    for work in (
        lambda: GROUP.execute(host, {}, lambda *_: None),
        lambda: GROUP.revert(host, {}, None),
    ):
        with pytest.raises(LocalOpusError, match="would follow out of the image") as caught:
            work()
        assert f"{image.root}/etc" in caught.value.message
        assert named in caught.value.message
    assert host.processes.calls == []


def test_groupadd_works_on_a_plain_image(image):
    host = ImageHost(image.root)
    GROUP.execute(host, {}, lambda *_: None)
    assert host.processes.calls == [
        ["groupadd", "--prefix", str(image.root), "--system", "local-opus"]
    ]


def test_a_group_file_that_is_a_pipe_or_leads_out_is_not_read(image):
    (image.outside / "group").write_text("local-opus:x:7:\n")
    hostile.replaced(image.root / "etc/group", image.outside / "group")
    assert ImageHost(image.root).accounts.group_id("local-opus") is None
    (image.root / "etc/group").unlink()
    os.mkfifo(image.root / "etc/group")
    with pytest.raises(OSError, match="not a regular file") as caught:
        ImageHost(image.root).accounts.group_id("local-opus")
    assert caught.value.filename == "/etc/group"


def planted_environment(image: Image) -> tuple[ImageHost, install.Choice, Path]:
    """An image that brings an environment, which is complete by its marker, and a conversion to do."""
    host = ImageHost(image.root)
    wanted = choice()
    install.install(host, wanted, QuietReporter())
    (environment,) = (image.root / "opt/local-opus").glob("env-*")
    planted = environment / "bin/planted"
    planted.touch()
    extra = wanted.plan.actions[-1].model_copy(update={"id": "variant"})
    params = {**extra.params, "path": "/usr/local/bin/variant"}
    plan = wanted.plan.model_copy(
        update={"actions": (*wanted.plan.actions, extra.model_copy(update={"params": params}))}
    )
    again = install.Choice(wanted.profile, None, None, None, PLACES, 8000, plan)  # type: ignore[arg-type]
    return host, again, planted


def test_a_conversion_runs_in_no_environment_that_an_image_brought(image):
    host, again, planted = planted_environment(image)
    install.install(host, again, QuietReporter())
    assert not planted.exists()
    assert install.pending(host, again) == []


def test_a_record_stands_before_the_environment_of_an_image_is_touched(image, monkeypatch):
    host, again, planted = planted_environment(image)
    environment = snapshot(planted.parent.parent)
    no_disk = OSError(errno.ENOSPC, "no space left on device", PLACES.receipt)
    monkeypatch.setattr(Receipt, "append", lambda *_, **__: (_ for _ in ()).throw(no_disk))
    with pytest.raises(LocalOpusError, match="no space left"):
        install.install(host, again, QuietReporter())
    assert snapshot(planted.parent.parent) == environment
