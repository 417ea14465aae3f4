"""The lock of a run: its holder is named where it is known, and only then a remedy kills."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from fakes import FakeHost
from local_opus.errors import LocalOpusError
from local_opus.host import locks

PATH = "/lock"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[BinaryIO]:
    """The file of the lock, held as by another run that has not written its PID yet."""
    with (tmp_path / "lock").open("w+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def taken(host: FakeHost) -> LocalOpusError:
    with (
        pytest.raises(LocalOpusError, match="another run") as caught,
        locks.exclusive(host.files, PATH),
    ):
        pass
    return caught.value


def ended() -> int:
    """Return the PID of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def write(holder: BinaryIO, text: str) -> None:
    holder.seek(0)
    holder.truncate()
    holder.write(text.encode())
    holder.flush()


def test_the_holder_is_named(host, holder):
    write(holder, f"{os.getppid()}\n")
    error = taken(host)
    assert f"(PID {os.getppid()})" in error.message
    assert f"`kill {os.getppid()}`" in error.remedy


@pytest.mark.parametrize("first", ["", "ended"])
def test_a_holder_that_is_about_to_write_its_name_is_waited_for(host, holder, first):
    if first:
        write(holder, f"{ended()}\n")
    timer = threading.Timer(0.1, write, (holder, f"{os.getppid()}\n"))
    timer.start()
    assert f"(PID {os.getppid()})" in taken(host).message
    timer.join()


@pytest.mark.parametrize("text", ["", "0\n", "-1\n", "9" * 30, "unknown\n", "ended"])
def test_without_its_name_nothing_is_to_be_killed(host, holder, monkeypatch, text):
    monkeypatch.setattr(locks, "NAMED_SECONDS", 0.1)
    write(holder, f"{ended()}\n" if text == "ended" else text)
    error = taken(host)
    assert error.message == f"{PATH}: another run is changing this machine"
    assert "kill" not in error.remedy


def test_a_lock_that_comes_free_while_its_holder_is_sought_is_taken(host, holder):
    timer = threading.Timer(0.1, fcntl.flock, (holder, fcntl.LOCK_UN))
    timer.start()
    with locks.exclusive(host.files, PATH):
        assert host.files.read_text(PATH) == f"{os.getpid()}\n"
    timer.join()
