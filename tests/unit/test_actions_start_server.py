"""The detached server: started once, replaced when its inputs change, never a stranger's process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import node, node_settings
from local_opus.actions import build
from local_opus.actions.base import State
from local_opus.actions.start_server import StartServer
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.locations import Locations, locate
from local_opus.values import Scope

STARTED = {"scope": "user", "command": ["/env/bin/python", "-m", "new"], "inputs_sha256": "0" * 64}
ACTION = build("start_server", STARTED)


class Machine(FakeHost):
    """Its processes are folders in its /proc; its server is ready while one of them serves."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.numbers = iter(range(100, 200))
        self.serves = True
        self.signals: list[tuple[int, int]] = []
        self.processes.start_detached = self.begin  # type: ignore[method-assign,assignment]
        self.processes.signal = self.end  # type: ignore[method-assign,assignment]
        self.network.request_json = self.answer  # type: ignore[method-assign,assignment]

    def begin(self, command, *, log, record, **_settings) -> int:  # type: ignore[no-untyped-def]
        pid = next(self.numbers)
        self.put(pid, command)
        record(pid)
        Path(log).write_text("it began\n")
        if not self.serves:
            self.end(pid, 0)
        return pid

    def put(self, pid: int, command: list[str], started: int | None = None) -> None:
        folder = Path(self.root, "proc", str(pid))
        folder.mkdir(parents=True)
        before = " ".join(["0"] * 18)
        (folder / "stat").write_text(f"{pid} (a b) c) S {before} {started or pid * 7} 0\n")
        (folder / "cmdline").write_text("\0".join(command) + "\0")

    def end(self, pid: int, number: int) -> bool:
        self.signals.append((pid, number))
        folder = Path(self.root, "proc", str(pid))
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        return True

    def answer(self, *_: object, **__: object) -> tuple[int, Mapping[str, object]]:
        if not self.running():
            raise LocalOpusError("no answer", "start it")
        return 200, {"status": "ready"}

    def running(self) -> list[int]:
        return sorted(int(path.name) for path in Path(self.root, "proc").glob("[0-9]*"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "root").mkdir()
    host = Machine(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    for path in (places.runtime, places.logs, "/proc"):
        host.files.make_folders(path)
    settings = type("Where", (), {"host": "127.0.0.1", "port": 1})()
    monkeypatch.setattr(node_settings, "settings", lambda *_: settings)
    return host


@pytest.fixture
def places(host: Machine) -> Locations:
    return locate(Scope.USER, host.environ)


def start(
    host: Machine, action: StartServer = ACTION
) -> tuple[dict[str, object], dict[str, object]]:
    before = action.capture(host)
    return before, action.execute(host, before, lambda *_: None)


def test_it_is_started_and_taken_back(host, places):
    assert ACTION.inspect(host).state is State.ABSENT
    before, after = start(host)
    assert after == {"pid": 100}
    assert (ACTION.inspect(host).state, ACTION.inspect(host).evidence) == (State.PRESENT, "PID 100")
    ACTION.revert(host, before, after)
    assert host.running() == []
    assert host.signals == [(100, signal.SIGTERM)]
    assert host.files.stat(places.pid_file) is None
    assert host.files.stat(places.server_log) is None
    ACTION.resume(host, before)  # nothing ran before
    assert host.running() == []


def test_a_server_that_runs_is_replaced(host):
    start(host)
    _, after = start(host)
    assert host.running() == [after["pid"]] == [101]


def test_a_revert_stops_the_new_and_resume_starts_the_old(host):
    old = build("start_server", {**STARTED, "command": ["/env/bin/python", "-m", "old"]})
    start(host, old)
    before, after = start(host)
    ACTION.revert(host, before, after)
    assert host.running() == []  # its configs are not back yet
    ACTION.resume(host, before)
    (pid,) = host.running()
    assert Path(host.root, "proc", str(pid), "cmdline").read_text() == "/env/bin/python\0-m\0old\0"


def test_a_repair_that_fails_leaves_the_log_of_the_server_that_ended(host, places):
    installed, _ = start(host)
    host.end(100, 0)
    found, _ = start(host)  # the repair
    ACTION.revert(host, found, None)
    assert host.files.stat(places.server_log) is not None
    ACTION.revert(host, installed, None)  # the way back of the install
    assert host.files.stat(places.server_log) is None


def test_an_older_receipt_still_removes_the_log(host, places):
    _, after = start(host)
    ACTION.revert(host, {"command": None}, after)
    assert host.files.list(places.logs) == []


def test_a_kill_right_after_the_start_leaves_a_server_that_is_known(host):
    before = ACTION.capture(host)
    ACTION.execute(host, before, lambda *_: None)
    assert ACTION.inspect(host).state is State.PRESENT
    ACTION.revert(host, before, None)
    assert host.running() == []


def test_a_server_that_ends_while_it_starts_is_told_with_its_last_words(host, monkeypatch):
    monkeypatch.setattr(node, "_POLL_SECONDS", 1.1)
    host.serves = False
    with pytest.raises(LocalOpusError, match="ended while it started: it began"):
        start(host)


@pytest.mark.parametrize(
    "recorded",
    [
        {"pid": 50, "started": "1"},  # the number was given to another process
        {"pid": 51, "started": "1"},  # no such process
        {"pid": "x", "started": "350"},
        {"started": "350"},
        [50],
        None,
    ],
)
def test_a_pid_file_that_names_no_server_of_ours(host, places, recorded):
    host.put(50, ["sleep"])
    host.files.write_atomic(places.pid_file, json.dumps(recorded).encode())
    assert node.serving(host, places) is None
    assert ACTION.inspect(host).state is State.ABSENT
    ACTION.revert(host, {"command": None}, None)
    assert host.running() == [50]
    assert host.files.stat(places.pid_file) is None


@pytest.mark.parametrize(("port", "free"), [(8000, True), (8001, False)])
def test_its_own_port_is_free_for_a_repair(host, places, port, free):
    """Also where the weights are damaged, so that the settings as a whole can't be had."""
    start(host)
    config = {"schema_version": 1, "host": "127.0.0.1", "port": 8000, "max_queue": 1}
    config |= {f"{name}_config": f"/c/{name}.json" for name in ("model", "generation", "openvino")}
    host.files.make_folders(places.config)
    host.files.write_atomic(places.server_config, json.dumps(config).encode())
    host.network.port_problem = lambda *_: "address already in use"  # type: ignore[method-assign]
    if free:
        node.require_free_port(host, places, "127.0.0.1", port)
    else:
        with pytest.raises(MachineCannotError, match="port 8001 on"):
            node.require_free_port(host, places, "127.0.0.1", port)


def test_a_port_of_an_installed_node_is_chosen_in_its_config(host, places):
    config = {"schema_version": 1, "host": "127.0.0.1", "port": 80, "max_queue": 1}
    host.files.make_folders(places.config)
    host.files.write_atomic(places.server_config, json.dumps(config).encode())
    host.network.port_problem = lambda *_: "permission denied"  # type: ignore[method-assign]
    with pytest.raises(MachineCannotError) as caught:
        node.require_free_port(host, places, "127.0.0.1", 80)
    assert caught.value.remedy == (
        f'Choose a port of 1024 or more as `"port": 8080` in {places.server_config},'
        " or by an install with `--port 8080`."
    )


@pytest.mark.parametrize(
    ("port", "problem", "remedy"),
    [
        (8000, "address already in use", "End the program that holds it, or choose another with `--port 8080`."),
        (65500, "address already in use", "End the program that holds it, or choose another with `--port 65420`."),
        (443, "permission denied", "Choose a port of 1024 or more with `--port 8443`."),
        (9000, "permission denied", "Choose another port with `--port 9080`."),
    ],
)  # fmt: skip
def test_a_port_of_an_install_is_chosen_with_its_option(host, places, port, problem, remedy):
    host.network.port_problem = lambda *_: problem  # type: ignore[method-assign]
    with pytest.raises(MachineCannotError) as caught:
        node.require_free_port(host, places, "127.0.0.1", port)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("what", ["fifo", "folder"])
def test_what_stands_in_the_place_of_the_posture_is_to_be_removed(host, places, what):
    path = Path(f"{host.root}{places.config}/posture.env")
    path.parent.mkdir(parents=True)
    if what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(LocalOpusError, match=r"posture\.env: ") as caught:
        start(host)
    assert caught.value.remedy == "Remove it, then run `local-opus doctor --fix`."


def test_a_zombie_serves_nothing(host, places):
    start(host)
    stat = Path(host.root, "proc/100/stat")
    stat.write_text(stat.read_text().replace(") S ", ") Z "))
    assert node.serving(host, places) is None


def test_a_long_log_makes_room(host, places, monkeypatch):
    monkeypatch.setattr(node, "LOG_LIMIT", 10)
    before = ACTION.capture(host)
    Path(host.root + places.server_log).write_text("x" * 11)
    _, after = start(host)
    assert host.files.read_text(f"{places.server_log}.1") == "x" * 11
    ACTION.revert(host, before, after)
    assert host.files.list(places.logs) == []


def test_nothing_runs_that_was_not_recorded(tmp_path):
    """The real thing: the command begins after its number is on the disk, or never."""
    from local_opus.host import Processes

    processes = Processes({"PATH": "/usr/bin:/bin"})
    mark, log = tmp_path / "began", str(tmp_path / "log")
    command = ["/bin/sh", "-c", f"test -s {tmp_path}/pid && touch {mark}"]

    def record(pid: int) -> None:
        (tmp_path / "pid").write_text(str(pid))

    def fail(_pid: int) -> None:
        raise OSError("no space left on device")

    os.waitpid(processes.start_detached(command, log=log, record=record), 0)
    assert mark.exists()
    mark.unlink()
    with pytest.raises(OSError, match="no space"):
        processes.start_detached(command, log=log, record=fail)
    os.wait()
    assert not mark.exists()
