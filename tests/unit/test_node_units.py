"""The node's units: started, stopped and told of together; where the socket listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import control, node, node_settings, node_units
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.locations import (
    FORMER_UNIT,
    SOCKET_UNIT,
    TARGET_UNIT,
    TRIAL_UNIT,
    TUNE_UNIT,
    UNIT,
    Locations,
    locate,
)
from local_opus.values import Scope

OOM = "SIGKILL: the kernel's memory limit of 200 MiB"
ALL = (TARGET_UNIT, SOCKET_UNIT, UNIT, TUNE_UNIT)
UP = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "MainPID": "77"}
DOWN = {**UP, "ActiveState": "inactive", "MainPID": "0"}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root").mkdir()
    made = FakeHost(tmp_path / "root")
    made.services.runs = True
    return made


@pytest.fixture
def places(host: FakeHost) -> Locations:
    return locate(Scope.SYSTEM, host.environ)


def install(host: FakeHost, *names: str, port: int = 8000, **state: str) -> None:
    host.files.make_folders("/etc/systemd/system")
    texts = {
        SOCKET_UNIT: f"[Socket]\nListenStream=127.0.0.1:{port}\n",
        UNIT: f"[Unit]\nRequires={SOCKET_UNIT}\n",
    }
    for name in names:
        text = texts.get(name, "[Unit]\n")
        host.files.write_atomic(f"/etc/systemd/system/{name}", text.encode())
        host.services.units[name] = {**DOWN, **state}


def test_what_is_not_ours_is_not_among_them(host, places):
    assert node_units.there(host, places) == []
    install(host, *ALL, "local-opus-theirs.service")
    assert node_units.there(host, places) == [*ALL]


def test_a_start_forgets_failures_and_starts_the_whole(host, places):
    install(host, *ALL)
    node_units.start(host, places, lambda _waited: None)
    assert host.services.verbs == [
        *(("reset-failed", name) for name in ALL),
        ("--no-block", "start", TARGET_UNIT),
        ("start", UNIT),
        ("start", TARGET_UNIT),
    ]


def test_a_node_without_a_server_is_started_too(host, places, monkeypatch):
    host.files.make_folders(places.state)
    install(host, TARGET_UNIT, TUNE_UNIT)
    monkeypatch.setattr(node_settings, "settings", lambda *_: pytest.fail("there is no server"))
    assert control.start(host, places, lambda _waited: None) is None
    assert ("start", TARGET_UNIT) in host.services.verbs
    assert ("start", UNIT) not in host.services.verbs


def test_a_stop_stops_the_socket_too(host, places):
    host.files.make_folders(places.state)
    install(host, *ALL)
    assert control.stop(host, places) is None
    assert host.services.verbs == [("stop", *ALL)]


@pytest.mark.parametrize(
    ("names", "stopped"),
    [(ALL, (SOCKET_UNIT, UNIT)), ((TARGET_UNIT, UNIT), (UNIT,)), ((FORMER_UNIT,), (FORMER_UNIT,))],
)
def test_room_is_made_by_stopping_the_server_and_what_would_start_it(host, places, names, stopped):
    install(host, *names)
    node_units.stop_server(host, places)
    assert host.services.verbs == [("stop", *stopped)]


def test_a_measurement_leaves_the_machines_own_tuning(host, places):
    install(host, *ALL, MainPID="77")
    control.pause(host, places)
    assert host.services.verbs == [("stop", SOCKET_UNIT, UNIT)]


def test_a_restart_leaves_the_socket_open(host, places, monkeypatch):
    install(host, *ALL, MainPID="77")
    monkeypatch.setattr(node_settings, "settings", lambda *_: None)
    monkeypatch.setattr(node, "wait_ready", lambda *_: {})
    control.restart(host, places)
    assert host.services.verbs == [("reset-failed", UNIT), ("restart", UNIT)]


def test_a_server_of_an_older_version_is_found_by_its_unit(host, places):
    install(host, FORMER_UNIT, MainPID="77")
    assert node.serving(host, places) == node.Serving(77, "systemd", FORMER_UNIT)
    install(host, UNIT, MainPID="78")
    assert node.serving(host, places) == node.Serving(78, "systemd", UNIT)
    assert node_units.server_unit(host, places.trial) == TRIAL_UNIT


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("127.0.0.1:9000 (Stream)", ("127.0.0.1", 9000)),  # an admin's drop-in
        ("[::1]:9000 (Stream)", ("::1", 9000)),
        ("", ("127.0.0.1", 8000)),
        ("/run/x (Stream)", ("127.0.0.1", 8000)),
    ],
)
def test_where_the_socket_listens(host, places, said, where):
    install(host, *ALL, Listen=said)
    assert node_units.socket_address(host, places) == where
    assert node_units.socket_address(host, places.trial) is None


def test_a_server_that_opens_its_port_itself_has_no_socket(host, places):
    install(host, TARGET_UNIT, UNIT)
    assert node_units.socket_address(host, places) is None
    assert not node_units.listens(host, places)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one.getsockname()[1]


def test_a_socket_that_the_servers_unit_does_without_listens_no_more(host, places):
    """A change from the one way to the other: the files of both are there for a while."""
    install(host, *ALL, port=9000)
    host.services.units[SOCKET_UNIT]["Listen"] = "127.0.0.1:9000 (Stream)"
    host.files.write_atomic(f"{places.units}/{UNIT}", b"[Unit]\n")
    assert node_units.socket_address(host, places) is None


def test_a_masked_server_takes_the_socket_from_nobody(host, places):
    install(host, *ALL, port=9000)
    host.files.remove(f"{places.units}/{UNIT}")
    host.files.symlink("/dev/null", f"{places.units}/{UNIT}")
    assert node_units.socket_address(host, places) == ("127.0.0.1", 9000)


def test_the_port_that_systemd_holds_for_the_server_is_not_taken(host, places, taken):
    install(host, *ALL, port=taken, ActiveState="active")
    node.require_free_port(host, places, "127.0.0.1", taken)
    host.services.units[SOCKET_UNIT] = DOWN
    with pytest.raises(MachineCannotError, match=f"port {taken} on 127.0.0.1"):
        node.require_free_port(host, places, "127.0.0.1", taken)


def test_a_socket_that_could_not_open_names_who_holds_the_port(host, places, taken):
    install(host, *ALL, port=taken)
    host.services.units[SOCKET_UNIT] = {**DOWN, "ActiveState": "failed", "Result": "resources"}
    row = f"0: 0100007F:{taken:04X} 00000000:0000 0A 0:0 00:0 0 0 0 4711 1 0\n"
    host.files.make_folders("/proc/net")
    host.files.write_atomic("/proc/net/tcp", f"sl\n{row}".encode())
    host.files.make_folders("/proc/55/fd")
    host.files.write_atomic("/proc/55/comm", b"nginx\n")
    host.files.symlink("socket:[4711]", "/proc/55/fd/3")
    (found,) = (one for one in node_units.standings(host, places) if one.active == "failed")
    assert found.reason is not None
    assert found.reason.startswith(f"port {taken} on 127.0.0.1: ")
    assert found.reason.endswith(" by nginx (PID 55)")


@pytest.mark.parametrize(
    ("result", "said", "reason"),
    [
        ("exit-code", "weights: corrupt", "it ended (exit-code): weights: corrupt"),
        ("start-limit-hit", "", "it ended too often, and is not started again"),
        ("watchdog", "", "it hung: the watchdog ended it"),
        ("oom-kill", "", "it was ended for want of memory"),
        ("timeout", "x", "it was not ready in time: x"),
        ("service-start-limit-hit", "", "closed: its service ended too often"),
    ],
)
def test_a_server_that_has_failed_says_why(host, places, monkeypatch, result, said, reason):
    install(host, UNIT, ActiveState="failed", Result=result)
    monkeypatch.setattr(host.services, "last_words", lambda *_: (said, ""))
    (found,) = node_units.standings(host, places)
    assert found.reason == reason
    (told,) = control.units_of(host, places)
    assert told["reason"] == reason  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("result", "said", "reason"),
    [
        ("oom-kill", "", "it was ended for want of memory ({line})"),
        ("signal", "", "it ended (signal) ({line})"),
        (
            "exit-code",
            f"the engine failed: {OOM}",
            "it ended (exit-code) ({line}): the engine failed: " + OOM,
        ),
        ("exit-code", "weights: corrupt", "it ended (exit-code): weights: corrupt"),
    ],
)
def test_a_memory_limit_is_named_with_its_file(host, places, monkeypatch, result, said, reason):
    drop_in = f"/etc/systemd/system/{UNIT}.d/limit.conf"
    host.files.make_folders(f"/etc/systemd/system/{UNIT}.d")
    host.files.write_atomic(drop_in, b"[Service]\nMemoryMax=200M\n")
    own = f"/etc/systemd/system/{UNIT}"
    install(host, UNIT, ActiveState="failed", Result=result, DropInPaths=drop_in, FragmentPath=own)
    monkeypatch.setattr(host.services, "last_words", lambda *_: (said, ""))
    (found,) = node_units.standings(host, places)
    line = f"{drop_in}:2: MemoryMax=200M"
    assert found.reason == reason.format(line=line)

    def fails(*_words: object) -> None:
        raise LocalOpusError(f"{UNIT} did not start: {said or f'it ended ({result})'}", "Look.")

    monkeypatch.setattr(host.services, "start", fails)
    with pytest.raises(LocalOpusError) as caught:
        node_units.restart_server(host, places)
    assert (line in caught.value.message) == ("{line}" in reason)


def test_a_group_that_is_not_there_is_named_with_its_line(host, places, monkeypatch):
    said = f"{UNIT}: Failed at step GROUP spawning /opt/python: No such process"
    own = f"/etc/systemd/system/{UNIT}"
    install(host, UNIT, ActiveState="failed", Result="exit-code", FragmentPath=own)
    host.files.write_atomic(own, b"[Service]\nGroup=local-opus\nSupplementaryGroups=render\n")
    host.files.write_atomic("/etc/group", b"local-opus:x:900:\n")
    monkeypatch.setattr(host.services, "last_words", lambda *_: (said, ""))
    (found,) = node_units.standings(host, places)
    assert found.reason is not None
    line = f"{own}:3: SupplementaryGroups=render: there is no group render"
    assert found.reason == f"it ended (exit-code): {line}"

    def fails(*_words: object) -> None:
        raise LocalOpusError(f"{UNIT} did not start: {said}", "Look.")

    monkeypatch.setattr(host.services, "start", fails)
    with pytest.raises(LocalOpusError, match=f"{UNIT} did not start: {line}"):
        node_units.restart_server(host, places)


def test_nothing_is_told_of_units_where_no_systemd_answers(host, places):
    install(host, *ALL)
    host.services.runs = False
    assert node_units.standings(host, places) == []
