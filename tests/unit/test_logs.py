"""The log of a server without systemd: bounded while it is written, read by time and number."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from local_opus import cli, log_reading, log_rotation
from local_opus.cli import context
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Completed, Host
from local_opus.locations import MONITOR_UNIT
from local_opus.values import Scope

LIMIT = 1000


@pytest.fixture
def files(tmp_path: Path):
    flags = os.O_RDWR | os.O_CREAT
    current = os.open(tmp_path / "server.log", flags | os.O_APPEND, 0o600)
    old = os.open(tmp_path / "server.log.1", flags, 0o600)
    yield current, old
    os.close(current)
    os.close(old)


def test_a_short_log_is_left_alone(files):
    os.write(files[0], b"x" * LIMIT)
    assert not log_rotation.rotate(*files, LIMIT)
    assert os.fstat(files[1]).st_size == 0


def test_a_long_log_is_cut_and_its_end_kept_in_whole_lines(files, tmp_path):
    for number in range(300):
        os.write(files[0], b"line %03d\n" % number)
    assert log_rotation.rotate(*files, LIMIT)
    os.write(files[0], b"next\n")
    assert (tmp_path / "server.log").read_bytes() == b"next\n"
    kept = (tmp_path / "server.log.1").read_text().splitlines()
    assert kept[-1] == "line 299"
    assert all(line.startswith("line ") and len(line) == 8 for line in kept)
    assert LIMIT - 20 < os.fstat(files[1]).st_size <= LIMIT


def test_a_disk_without_room_is_not_filled_by_the_log(files, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    os.write(files[0], b"x\n" * LIMIT)
    monkeypatch.setattr(os, "pwrite", full)
    assert log_rotation.rotate(*files, LIMIT)
    assert (os.fstat(files[0]).st_size, os.fstat(files[1]).st_size) == (0, 0)


CHILD = """
import sys, time
from local_opus import log_rotation
log_rotation.LIMIT, log_rotation.PAUSE = 200_000, 0.05
log_rotation.rotate.__defaults__ = (200_000,)
log_rotation.begin()
end = time.monotonic() + 3
number = 0
while time.monotonic() < end:
    print(f"line {number:09}", flush=True)
    number += 1
"""


def test_a_process_started_detached_keeps_its_log_bounded(tmp_path):
    log = tmp_path / "server.log"
    host = Host()
    pids: list[int] = []
    host.processes.start_detached(
        [sys.executable, "-c", CHILD], log=str(log), old_log=f"{log}.1", record=pids.append,
        extra_env={"PYTHONPATH": os.environ.get("PYTHONPATH", "src")},
    )  # fmt: skip
    most, deadline = 0, time.monotonic() + 30
    while Path(f"/proc/{pids[0]}").exists() and time.monotonic() < deadline:
        sizes = [part.stat().st_size for part in tmp_path.iterdir()]
        most = max(most, sum(sizes))
        if subprocess.run(["ps", "-o", "stat=", "-p", str(pids[0])], capture_output=True,
                          text=True, check=False).stdout.startswith("Z"):  # fmt: skip
            break
        time.sleep(0.05)
    lines = (tmp_path / "server.log.1").read_text().splitlines()
    assert len(lines) > 100, log.read_text()[:500]
    assert all(line.startswith("line ") for line in lines)
    assert most < 20 * 200_000


LOG = """\
2026-01-31 10:00:00,000 INFO a: one
2026-01-31 11:00:00,000 ERROR a: two
Traceback (most recent call last):
2026-01-31 12:00:00,000 INFO a: three
"""


@pytest.fixture
def log(host):
    host.files.make_folders("/log")
    host.files.write_atomic("/log/server.log", LOG.encode())
    host.files.write_atomic("/log/server.log.1", b"2026-01-30 09:00:00,000 INFO a: zero\n")
    return "/log/server.log"


@pytest.mark.parametrize(
    ("lines", "since", "first", "count"),
    [
        (2, None, "Traceback", 2),
        (4, None, "2026-01-31 10", 4),
        (50, None, "2026-01-30 09", 5),
        (50, "2026-01-31 10:30", "2026-01-31 11", 3),
        (2, "2026-01-31 10:30", "Traceback", 2),
        (50, "2026-01-30", "2026-01-30 09", 5),
        (50, "2027-01-01", None, 0),
    ],
)
def test_lines_of_a_file(host, log, lines, since, first, count):
    found = log_reading.tail(host, log, lines, since)
    assert len(found) == count
    assert first is None or found[0].startswith(first)


NOW = datetime(2026, 1, 31, 15, 0, 0)  # noqa: DTZ001 - as it is logged


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2 hours ago", "2026-01-31T13:00:00"),
        ("-90s", "2026-01-31T14:58:30"),
        ("5 min ago", "2026-01-31T14:55:00"),
        ("1 day ago", "2026-01-30T15:00:00"),
        ("today", "2026-01-31T00:00:00"),
        ("yesterday", "2026-01-30T00:00:00"),
        ("14:30", "2026-01-31T14:30:00"),
        ("2026-01-02 03:04:05", "2026-01-02T03:04:05"),
    ],
)
def test_words_for_a_time(words, moment):
    assert log_reading.moment(words, NOW).isoformat() == moment


@pytest.mark.parametrize("words", ["soon", "", "25:99", "2026-13-01", "-", "1e9 days ago"])
def test_a_time_that_is_none_is_named(words):
    with pytest.raises(BadInputError, match="--since"):
        log_reading.moment(words, NOW)


def test_following_goes_on_after_the_log_was_cut(host, log, monkeypatch):
    monkeypatch.setattr(log_reading.time, "sleep", lambda _seconds: None)
    lines = log_reading.follow(host, log)
    path = Path(host.root + log)

    def more(text: str, *, cut: bool = False) -> str:
        with path.open("w" if cut else "a") as stream:
            stream.write(text)
        return next(lines)

    # It begins at the end of what is there.
    real_stat = host.files.stat
    seen = []

    def stat(name: str, **words: object):
        found = real_stat(name, **words)
        if not seen:
            seen.append(found)
            with path.open("a") as stream:
                stream.write("four\n")
        return found

    monkeypatch.setattr(host.files, "stat", stat)
    assert next(lines) == "four\n"
    assert more("five\n") == "five\n"
    assert more("six\n", cut=True) == "six\n"


HINT = (
    "Hint: You are currently not seeing messages from other users and the system.\n"
    "      Users in groups 'adm', 'systemd-journal' can see all messages.\n"
)


@pytest.mark.parametrize(
    "answer",
    [
        Completed(0, "-- No entries --\n", HINT),
        Completed(1, "", "No journal files were opened due to insufficient permissions.\n"),
    ],
)
def test_who_may_not_read_the_journal_is_told_which_group_may(host, answer):
    host.processes.answers["journalctl"] = answer
    with pytest.raises(LocalOpusError, match="closed to this user") as raised:
        log_reading.journal(host, Scope.SYSTEM, ("local-opus.service",), 50, None)
    assert "systemd-journal" in raised.value.remedy


def test_a_time_that_journalctl_refuses_is_bad_input(host):
    host.processes.answers["journalctl"] = Completed(1, "", "Failed to parse timestamp: soon\n")
    with pytest.raises(BadInputError, match="--since"):
        log_reading.journal(host, Scope.SYSTEM, ("local-opus.service",), 50, "soon")


def test_no_entries_are_no_error(host):
    host.processes.answers["journalctl"] = Completed(0, "-- No entries --\n", "")
    assert log_reading.journal(host, Scope.USER, ("x.service",), 50, None) == ""


def test_the_units_of_the_node_are_asked_for_together(places):
    units = log_reading.units_of(places, "all")
    command = log_reading.journal_command(Scope.USER, units, 9, "today", follow=True)
    assert command[:4] == ["journalctl", "--user", "--no-pager", "--lines=9"]
    assert {f"--unit={places.unit}", f"--unit={MONITOR_UNIT}", "--since=today"} <= {*command}
    assert command[-1] == "--follow"


def test_a_file_that_a_server_without_systemd_left_hides_no_journal(
    host, places, monkeypatch, capsys
):
    for path in (f"{places.units}/{places.unit}", places.server_log):
        host.files.make_folders(path.rpartition("/")[0])
        host.files.write_atomic(path, b"of a file\n")
    host.services.runs = True
    host.processes.answers["journalctl"] = Completed(0, "of the journal\n", "")
    monkeypatch.setattr(context, "open_host", lambda: host)
    monkeypatch.setattr(context, "find_install", lambda *_: places)
    assert cli.main(["logs"]) == 0
    assert capsys.readouterr().out == "of the journal\n"
