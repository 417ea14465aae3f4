"""The mark that has a sick server started anew: it counts for the look that left it, and no other."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from serving import serve

from builders import IR_BIN
from local_opus import watch
from local_opus.errors import LocalOpusError
from local_opus.locations import RECOVER_UNIT
from local_opus.monitor import asking, settings, state
from local_opus.monitor.sight import Health
from local_opus.planner.user_sandbox import UserSandbox
from local_opus.unit_text import service_settings
from rendered import rendered

FOLDER = "/state"
MARK = f"{FOLDER}/{state.RECOVER}"
INVOCATION, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def node(host, places, monkeypatch):
    """A server that hangs, and a monitor that has it started anew at the first such look."""
    host.files.make_folders("/models/tiny")
    host.files.write_atomic("/models/tiny/x.bin", IR_BIN)
    serve(host, places, "/models/tiny")
    host.files.make_folders(FOLDER)
    host.files.write_atomic(settings.path_of(places), b'{"schema_version": 1, "sick_after": 1}')
    host.services.runs = True
    unit = {"LoadState": "loaded", "ActiveState": "active", "MainPID": "7"}
    host.services.units = {"local-opus.service": unit}
    host.environ = {**host.environ, "INVOCATION_ID": INVOCATION}
    hung = Health(problem="no answer within 5 s")
    monkeypatch.setattr(asking, "health", lambda *_: (hung, None))
    return host


def counted(host) -> int:
    """Return how many recoveries are kept as done."""
    kept = state.peek(host, FOLDER)
    return kept.servers["user"].counts.recoveries if kept is not None else 0


def test_a_look_that_finds_it_sick_leaves_the_mark(node, places):
    assert watch.watch(node, places, FOLDER) == 3
    first, reasons = node.files.read_text(MARK).splitlines()
    assert first == f"InvocationID={INVOCATION}"
    assert "no answer within 5 s" in reasons
    assert counted(node) == 1


def test_a_mark_that_can_not_be_left_counts_as_no_recovery(node, places, monkeypatch):
    write = node.files.write_atomic

    def full_disk(path: str, *words: object, **more: object) -> None:
        if path == MARK:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *words, **more)

    monkeypatch.setattr(node.files, "write_atomic", full_disk)
    with pytest.raises(LocalOpusError, match=r"/state/recover: no space left on device"):
        watch.watch(node, places, FOLDER)
    assert counted(node) == 0


def test_a_recovery_that_can_not_be_counted_leaves_no_mark(node, places, monkeypatch):
    write = node.files.write_atomic

    def full_disk(path: str, *words: object, **more: object) -> None:
        if path.endswith(state.NAME):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *words, **more)

    monkeypatch.setattr(node.files, "write_atomic", full_disk)
    with pytest.raises(LocalOpusError, match=r"/state/state\.json: no space left on device"):
        watch.watch(node, places, FOLDER)
    assert node.files.stat(MARK) is None


def test_the_next_look_withdraws_the_mark(node, places, monkeypatch):
    watch.watch(node, places, FOLDER)
    node.services.units["local-opus.service"]["ActiveState"] = "activating"
    assert watch.watch(node, places, FOLDER) == 0
    assert node.files.stat(MARK) is None


def test_a_state_that_is_closed_to_the_monitor_is_an_error_with_a_remedy(
    node, places, monkeypatch, capsys
):
    denied = PermissionError(errno.EACCES, "Permission denied", f"{FOLDER}/{state.NAME}")

    def closed(*_: object) -> None:
        raise denied

    monkeypatch.setattr(watch, "Host", lambda: node)
    monkeypatch.setattr(state, "load", closed)
    words = ("--scope", "user", "--config", places.config, "--state", FOLDER)
    assert watch.main(words) == 1
    error, fix = capsys.readouterr().err.splitlines()
    assert error == f"error: {FOLDER}/{state.NAME}: permission denied"
    assert fix.strip().startswith("fix: ")


def condition(folder: Path, scope: str, said: str) -> int:
    """Run the recover unit's own condition as systemd does; ``said``: what systemctl prints."""
    text = rendered(RECOVER_UNIT, scope=scope)
    (found,) = [one.value for one in service_settings(text) if one.name == "ExecCondition"]
    command = [word.replace("$$", "$").replace("%S", str(folder)) for word in shlex.split(found)]
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "systemctl").write_text(f"#!/bin/sh\n{said}\n")
    (programs / "systemctl").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(command, env={"PATH": path}, check=False, timeout=10).returncode


KNOWN = f"echo InvocationID={INVOCATION}"
CONDITIONS = [
    ("of this look", INVOCATION, KNOWN, True),
    ("of an earlier look", OTHER, KNOWN, False),
    ("of none, by hand", None, KNOWN, False),
    ("of none, and the monitor was never started", None, "echo InvocationID=", False),
    ("systemctl fails", INVOCATION, "exit 1", False),
]


@pytest.mark.parametrize("scope", ["system", "user"])
@pytest.mark.parametrize(
    ("invocation", "said", "ends_it"),
    [case[1:] for case in CONDITIONS],
    ids=[case[0] for case in CONDITIONS],
)
def test_the_mark_of_the_look_that_failed_alone_ends_the_server(
    host, tmp_path, scope, invocation, said, ends_it
):
    folder = tmp_path / "root/local-opus-monitor"
    folder.mkdir()
    state.ask_recovery(host, "/local-opus-monitor", "canary: x", invocation)
    assert (condition(tmp_path / "root", scope, said) == 0) is ends_it


def test_without_a_mark_nothing_is_ended(tmp_path):
    assert condition(tmp_path, "system", KNOWN) in range(1, 255)


def test_a_user_whose_homes_are_hidden_sees_the_mark():
    shown = "BindReadOnlyPaths=%S/local-opus-monitor"
    sandbox = replace(UserSandbox(), readable=("/home/user/.config/local-opus",))
    assert shown in rendered(RECOVER_UNIT, scope="user", user_sandbox=sandbox).splitlines()
