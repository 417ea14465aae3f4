"""Which Python an environment is made from: one that the service can reach."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import interpreter
from local_opus.errors import MachineCannotError
from local_opus.host import Completed
from local_opus.values import Scope

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A machine with /usr/bin/python3, an old /usr/bin/python3.11, and homes that are closed."""
    root = tmp_path / "root"
    for folder, mode in (("usr/bin", 0o755), ("root", 0o700), ("home/u/.pyenv/bin", 0o755), ("srv/py", 0o750)):  # fmt: skip
        (root / folder).mkdir(parents=True)
        (root / folder).chmod(mode)
    for name in (
        "usr/bin/python3",
        "usr/bin/python3.12",
        "home/u/.pyenv/bin/python3",
        "srv/py/python3",
    ):
        (root / name).touch()
    host = FakeHost(root)
    host.processes.answers["python3"] = Completed(0, "3 13\n", "")
    host.processes.answers["python3.12"] = Completed(0, "3 12\n", "")
    return host


def own(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(sys, "_base_executable", path)
    monkeypatch.setattr(os.path, "realpath", lambda name: name)


@pytest.mark.parametrize("path", ["/home/u/.pyenv/bin/python3", "/root/python3", "/srv/py/python3"])
def test_a_python_in_a_closed_folder_does_not_serve_the_system(host, monkeypatch, path):
    own(monkeypatch, path)
    assert interpreter.choose(host, Scope.SYSTEM) == interpreter.Interpreter(
        "/usr/bin/python3", "3.13"
    )
    assert interpreter.choose(host, Scope.USER) == interpreter.Interpreter(path, OWN)


def test_a_python_that_all_can_reach_is_taken(host, monkeypatch):
    own(monkeypatch, "/usr/bin/python3.12")
    assert interpreter.choose(host, Scope.SYSTEM) == interpreter.Interpreter(
        "/usr/bin/python3.12", OWN
    )
    assert host.processes.calls == []


@pytest.mark.parametrize(
    "answer",
    [
        Completed(0, "3 9\n", ""),
        Completed(1, "", "No module named venv"),
        Completed(0, "garbage", ""),
    ],
)
def test_one_that_is_too_old_or_broken_is_passed_over(host, monkeypatch, answer):
    own(monkeypatch, "/root/python3")
    host.processes.answers["python3"] = answer
    assert interpreter.choose(host, Scope.SYSTEM) == interpreter.Interpreter(
        "/usr/bin/python3.12", "3.12"
    )


def test_none_at_all_is_told(host, monkeypatch):
    own(monkeypatch, "/root/python3")
    for name in ("python3", "python3.12"):
        Path(host.root, "usr/bin", name).unlink()
    with pytest.raises(
        MachineCannotError, match="/root/python3: the service's user can't reach"
    ) as caught:
        interpreter.choose(host, Scope.SYSTEM)
    assert "--scope user" in caught.value.remedy


def test_a_path_in_no_folder_that_is_there_is_not_reached(host, monkeypatch):
    own(monkeypatch, "/gone/python3")
    assert interpreter.choose(host, Scope.SYSTEM).path == "/usr/bin/python3"
