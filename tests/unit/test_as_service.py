"""``doctor --as-service``: what of the installed unit goes into the sandbox, and what does not."""

from __future__ import annotations

import pytest
from checks_host import context, facts, write

from local_opus import as_service
from local_opus.checks.runner import answer
from local_opus.errors import BadInputError, LocalOpusError, MachineCannotError, WorkerError
from local_opus.host.processes import Processes
from local_opus.locations import locate
from local_opus.values import DeviceFacts, Scope
from rendered import rendered

UNIT = "/etc/systemd/system/local-opus.service"
DROP_IN = f"{UNIT}.d/a.conf"
PYTHON = "/opt/local-opus/env-1/bin/python"


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("/opt/x/bin/python -s -P", "/opt/x/bin/python"),
        ('"/home/my user/bin/python" -s', "/home/my user/bin/python"),
        (r'"/home/a\"b%%c/python" -s', '/home/a"b%c/python'),
        ("/opt/a$$b/python", "/opt/a$b/python"),
        ("-/bin/x", "/bin/x"),
        ("@!/bin/x y", "/bin/x"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_the_program_of_a_command_line(command, program):
    assert as_service.program_of(command) == program


@pytest.fixture
def node(host):  # type: ignore[no-untyped-def]
    """A machine whose systemd has the unit of an install loaded, with a drop-in of the user."""
    host.services.runs = True
    host.services.values = {"LoadState": "loaded", "FragmentPath": UNIT, "DropInPaths": DROP_IN}
    text = rendered(python=PYTHON, device_groups=("render",))
    write(host, UNIT, text)
    write(host, DROP_IN, "[Service]\nDeviceAllow=/dev/null rw\nTimeoutStartSec=9\nExecStart=\n")
    return host


def launched(host, places, monkeypatch):  # type: ignore[no-untyped-def]
    """Ask the check; return what it found, and the commands that it started."""
    commands: list[list[str]] = []

    def worker(self: Processes, module: str, request: object, **_: object) -> dict[str, object]:
        assert self.launch is not None
        commands.append(self.launch(f"local_opus.runtime.{module}"))
        return {"device": "CPU", "ran_on": "CPU", "right": True, "problem": None, "seconds": 0.1}

    monkeypatch.setattr(Processes, "worker", worker)
    cpu = DeviceFacts(name="CPU", full_name="CPU", properties={})
    monkeypatch.setattr(as_service, "gather", lambda *_, **__: facts(openvino={"devices": (cpu,)}))
    check = as_service.check(host, places)
    return {one.id: one for one in answer(check, context(host))}, commands


def test_workers_run_with_the_settings_of_the_unit_and_its_drop_ins(node, places, monkeypatch):
    found, commands = launched(node, places, monkeypatch)
    assert found["device-cpu"].state == "pass"
    (command,) = commands
    assert command[0] == "systemd-run"
    assert command[command.index("--") + 1 :] == [
        PYTHON,
        "-s",
        "-P",
        "-m",
        "local_opus.runtime.tiny",
    ]
    given = [word.removeprefix("--property=") for word in command if word.startswith("--property=")]
    for wanted in ("DynamicUser=yes", "DeviceAllow=char-drm rw", "DeviceAllow=char-accel rw", "DevicePolicy=closed",
                   "Group=local-opus", "SupplementaryGroups=render", "ProtectSystem=strict",
                   "SystemCallFilter=@system-service", "PrivateUsers=yes", "DeviceAllow=/dev/null rw"):  # fmt: skip
        assert wanted in given, wanted
    refused = next(one for one in given if one.startswith("SystemCallFilter=~@privileged "))
    assert given.index("SystemCallFilter=@system-service") < given.index(refused)
    names = {one.partition("=")[0] for one in given}
    for kept_out in ("Type", "ExecStart", "Restart", "StateDirectory", "CacheDirectory", "WatchdogSec", "TimeoutStartSec",
                     "NotifyAccess", "Description", "WantedBy"):  # fmt: skip
        assert kept_out not in names, kept_out
    assert given[0] == "RuntimeMaxSec=60"


def test_the_users_systemd_is_asked_in_the_scope_of_a_user(node, places, monkeypatch):
    _, ((first, second, *_),) = launched(node, places, monkeypatch)
    assert (first, second) == ("systemd-run", "--user")


def test_only_root_looks_from_the_systems_unit(node):
    node.euid = 1000
    with pytest.raises(BadInputError, match="needs root"):
        as_service.check(node, locate(Scope.SYSTEM, {}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"LoadState": "not-found"}, "is not installed (not-found)"),
        ({"LoadState": "masked", "FragmentPath": "/dev/null"}, "is not installed (masked)"),
        ({}, "is not installed (not known)"),
    ],
)
def test_without_a_unit_there_is_no_sandbox(host, places, values, words):
    host.services.runs = True
    host.services.values = values
    with pytest.raises(MachineCannotError) as error:
        as_service.check(host, places)
    assert words in error.value.message


def test_a_unit_that_starts_nothing(node, places):
    write(node, UNIT, "[Service]\nExecStart=python\n")
    with pytest.raises(LocalOpusError, match="names no program"):
        as_service.check(node, places)


def test_a_sandbox_that_does_not_start_is_the_evidence(node, places, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise WorkerError("tiny worker ended without an answer (exit code 226)", "x")

    monkeypatch.setattr(Processes, "worker", refuse)
    of = facts(openvino={"version": None, "problem": "probe worker ended (exit code 226)"})
    monkeypatch.setattr(as_service, "gather", lambda *_, **__: of)
    found = {one.id: one for one in answer(as_service.check(node, places), context(node))}
    assert found["device-cpu"].state == "fail"
    assert "exit code 226" in found["device-cpu"].evidence
