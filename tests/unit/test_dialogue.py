"""A worker that is asked several things: real processes that crash, hang and print garbage."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local_opus.errors import WorkerError
from local_opus.host import Host, dialogue
from local_opus.host.dialogue import Dialogue

CHECKOUT = Path(__file__).resolve().parent.parent.parent
FRAMES = f"""
import os, signal, struct, sys, time
sys.path.insert(0, {str(CHECKOUT / "src")!r})
from local_opus.runtime import protocol
def read(): return protocol.read(sys.stdin.buffer)
def say(**message): protocol.write(sys.stdout.buffer, message)
"""
Start = Callable[[str], Dialogue]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a worker of these lines; leave it to the test to end it."""

    def of(lines: str) -> Dialogue:
        command = [sys.executable, "-c", FRAMES + lines]
        monkeypatch.setattr(dialogue, "worker_command", lambda _python, _module: command)
        return Host().processes.dialogue("tune")

    return of


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_message_gets_its_answer(start):
    with start("while (m := read()) is not None: say(echo=m['n'], pid=os.getpid())") as worker:
        answers = [worker.ask({"n": number}, timeout=20) for number in range(3)]
    assert [one["echo"] for one in answers] == [0, 1, 2]
    assert {one["pid"] for one in answers} == {worker.pid}


def test_it_is_ended_when_it_is_left(start):
    with start("read(); say(ok=1); time.sleep(600)") as worker:
        worker.ask({}, timeout=20)
    assert not is_running(worker.pid)
    worker.close()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("read(); os.kill(os.getpid(), signal.SIGSEGV)", "ended without an answer (SIGSEGV)"),
        ("read(); sys.exit('driver is gone')", "ended without an answer (exit code 1): driver is gone"),
        ("read()", "ended without an answer (exit code 0)"),
        ("read(); sys.stdout.buffer.write(b'no frames at all, but text'); sys.stdout.flush(); time.sleep(600)", "this is not a frame"),
        ("read(); sys.stdout.buffer.write(struct.pack('>I', 2) + b'[]'); sys.stdout.flush(); time.sleep(600)", "JSON that is no object"),
        ("read(); sys.stdout.buffer.write(struct.pack('>I', 99) + b'{'); sys.stdout.flush()", "ended without an answer"),
        ("read(); say(error={'type': 'RuntimeError', 'text': 'expect u8\\nmore'}); time.sleep(600)", "tune worker: expect u8"),
        ("read(); os.close(1); time.sleep(600)", "closed its output"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_and_leaves_no_process(start, monkeypatch, lines, words):
    worker = start(lines)
    with pytest.raises(WorkerError) as caught:
        worker.ask({"op": "x"}, timeout=20)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.remedy
    assert not is_running(worker.pid)


def test_a_hang_is_ended_at_its_limit(start):
    worker = start("read(); time.sleep(600)")
    begin = time.monotonic()
    with pytest.raises(WorkerError, match="over its time limit of 1 s"):
        worker.ask({}, timeout=1)
    assert time.monotonic() - begin < 8
    assert not is_running(worker.pid)


def test_much_noise_on_standard_error_stops_nothing(start):
    with start("read(); sys.stderr.write('x' * 500000); sys.stderr.flush(); say(ok=1)") as worker:
        assert worker.ask({}, timeout=20) == {"ok": 1}


def test_after_an_end_nothing_is_asked(start):
    worker = start("read(); say(ok=1)")
    worker.ask({}, timeout=20)
    for _ in range(100):
        if worker._child.poll() is not None:
            break
        time.sleep(0.05)
    with pytest.raises(WorkerError, match="ended without an answer"):
        worker.ask({}, timeout=20)
