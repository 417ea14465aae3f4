"""What keeps systemd's watchdog quiet, and what must not."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from servers import FAKE_ENGINE, FAST, fake_server

from local_opus.server import watchdog
from local_opus.server.engine_client import EngineClient
from local_opus.server.load_clock import LoadClock
from local_opus.server.notify import notify, watchdog_seconds
from local_opus.server.starting import Starting
from local_opus.server.turns import CEILING, FACTOR, FLOOR, GROWTH, Turns

WARM_UP = {
    "seconds": 1.0,
    "prefill_seconds": 6.4,
    "prefill_tokens": 64,
    "decode_seconds": 0.5,
    "step_tokens": 256,
}


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would read, not blocking."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def told(sock: socket.socket) -> list[str]:
    """What has been told since the last time."""
    messages = []
    while True:
        try:
            messages.append(sock.recv(4096).decode())
        except BlockingIOError:
            return messages


# --- the limit ---------------------------------------------------------------------------------


def test_the_limit_is_what_a_whole_step_should_take_times_the_factor():
    turns = Turns()
    turns.begin(WARM_UP)
    assert turns.limit == pytest.approx(FACTOR * (0.1 * 256 + 0.5))


def test_the_limit_has_a_floor_and_a_ceiling():
    turns = Turns()
    turns.begin({**WARM_UP, "prefill_seconds": 0.05, "decode_seconds": 0.01})
    assert turns.limit == FLOOR
    turns.begin({**WARM_UP, "prefill_seconds": 6400.0})
    assert turns.limit == CEILING


def test_the_limit_grows_with_the_longest_turn_and_falls_with_a_new_engine():
    turns = Turns()
    turns.took(100)
    turns.took(50)
    assert turns.limit == GROWTH * 100
    turns.begin({**WARM_UP, "prefill_seconds": 0.05, "decode_seconds": 0.01})
    assert turns.limit == FLOOR


# --- what feeds it -----------------------------------------------------------------------------


def engine(model: str = "fake", **timing: float) -> EngineClient:
    load = {"op": "load", "model": model}
    return EngineClient(load, max_in_flight=1, command=FAKE_ENGINE, timing=replace(FAST, **timing))


def while_fed(client: EngineClient, seconds: float, sock: socket.socket, *say: str) -> list[str]:
    """Start it, wait until it is ready, send what to ``say``; return what systemd is told then."""

    async def run() -> list[str]:
        await client.start()
        feeding = asyncio.create_task(watchdog.feed(client))
        await client.wait_ready()
        for text in say:
            client.submit([{"role": "user", "content": text}], {})
        await asyncio.sleep(0.15)  # what was on its way
        told(sock)
        await asyncio.sleep(seconds)
        found = told(sock)
        feeding.cancel()
        await client.stop()
        return found

    return asyncio.run(run())


def test_an_idle_engine_feeds_it(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    found = while_fed(engine(), 0.6, systemd)
    assert found.count("WATCHDOG=1") >= 3


def test_an_engine_that_does_not_turn_does_not_feed_it(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    assert while_fed(engine("lazy"), 0.6, systemd) == []


def test_a_frozen_engine_that_cannot_be_ended_does_not_feed_it(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    client = engine(floor=0.1, ceiling=0.1)
    monkeypatch.setattr("local_opus.server.engine_process.EngineProcess.kill", lambda _: None)

    async def run() -> list[str]:
        await client.start()
        feeding = asyncio.create_task(watchdog.feed(client))
        await client.wait_ready()
        os.kill(client.pid, 19)
        await asyncio.sleep(0.5)
        told(systemd)
        await asyncio.sleep(0.5)
        feeding.cancel()
        os.kill(client.pid, 9)
        await client.stop()
        return told(systemd)

    assert asyncio.run(run()) == []


def test_a_load_within_its_limit_feeds_it_and_one_beyond_does_not(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setattr("local_opus.server.engine_process.EngineProcess.kill", lambda _: None)

    async def run() -> tuple[list[str], list[str]]:
        client = engine("slow", stall=0.5)
        await client.start()
        feeding = asyncio.create_task(watchdog.feed(client))
        await asyncio.sleep(0.35)
        within = told(systemd)
        await asyncio.sleep(0.6)
        told(systemd)
        await asyncio.sleep(0.4)
        feeding.cancel()
        os.kill(client.pid, 9)
        await client.stop()
        return within, told(systemd)

    within, beyond = asyncio.run(run())
    assert "WATCHDOG=1" in within
    assert beyond == []


def test_systemd_is_told_to_wait_for_longer_than_the_engine_may_be_silent(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "200000")

    async def run() -> list[str]:
        client = engine(floor=40.0)
        feeding = asyncio.create_task(watchdog.feed(client))
        await asyncio.sleep(0.1)
        client.turns.took(30.0)
        client.turns.took(10.0)
        await asyncio.sleep(0.1)
        feeding.cancel()
        return [line for line in told(systemd) if line.startswith("WATCHDOG_USEC")]

    waits = [int(line.partition("=")[2]) / 1e6 for line in asyncio.run(run())]
    assert waits == [watchdog.patience(40.0), watchdog.patience(GROWTH * 30.0)]


def test_no_watchdog_no_feeding(systemd, monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert asyncio.run(watchdog.feed(engine())) is None
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None


# --- the engine's limit ------------------------------------------------------------------------


def test_a_call_that_keeps_the_engine_busy_within_the_limit_is_waited_for():
    async def run() -> EngineClient:
        client = engine(floor=0.8, ceiling=9.0)
        await client.start()
        await client.wait_ready()
        for seconds in (0.6, 1.2):  # the second is within three times the first
            async with client.submit(
                [{"role": "user", "content": f"slow {seconds}"}], {}
            ) as answer:
                await answer.begin()
                assert [text async for text in answer.texts()] == []
        await client.stop()
        return client

    client = asyncio.run(run())
    assert client.restarts == 0
    assert client.turns.longest == 1.2
    assert client.turns.limit == pytest.approx(3.6)


def test_an_idle_engine_that_does_not_turn_is_ended_and_started_anew():
    async def run() -> EngineClient:
        client = engine(floor=0.3, ceiling=0.3)
        await client.start()
        await client.wait_ready()
        os.kill(client.pid, 19)
        await client.wait_unready()
        await client.wait_ready()
        await client.stop()
        return client

    client = asyncio.run(run())
    assert client.restarts == 1
    assert "did not turn for 0" in client.last_end


def test_health_tells_of_the_turns():
    with fake_server() as running:
        time.sleep(0.2)
        told_of = httpx.get(f"{running.url}/health").json()["engine"]
        assert 0 <= told_of["turn_age"] < 2
        assert told_of["longest_turn"] == 0.01
        assert told_of["turn_limit"] == FAST.floor
        assert told_of["last_end"] is None
        assert told_of["memory_lock"] is None
        assert told_of["warm_up"]["step_tokens"] == 256


# --- loading -----------------------------------------------------------------------------------


def over(program: str, seconds: float, **limits: float) -> str | None:
    """What the clock says within ``seconds`` of a process that runs ``program``."""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        clock = LoadClock(process.pid, **limits)
        end = time.monotonic() + seconds
        found = None
        while found is None and time.monotonic() < end:
            time.sleep(0.05)
            found = clock.overdue()
        process.kill()
    return found


def test_a_load_that_does_nothing_is_given_up():
    assert "neither read nor computed" in over(
        "import time; time.sleep(9)", 3, longest=9, stall=0.4
    )


def test_a_load_that_computes_is_given_up_later():
    found = over("while True: pass", 4, longest=1.0, stall=0.5)
    assert found == "it computed for 1 s of loading and was not done"


def test_a_load_that_reads_goes_on():
    program = "import time\nwhile True: open('/proc/self/stat').read(); time.sleep(.02)"
    assert over(program, 1.5, longest=0.7, stall=0.7) is None


def test_a_start_that_gets_on_asks_for_more_time_and_one_that_hangs_does_not(systemd):
    with Starting("Verifying", push=0.05) as starting:
        assert told(systemd) == ["EXTEND_TIMEOUT_USEC=30000000\nSTATUS=Verifying"]
        starting.progress("verify", 5_000_000, 10_000_000)
        time.sleep(0.12)
        (pushed,) = told(systemd)
        assert pushed.endswith("STATUS=Verifying: 50 % of 10 MB")
        time.sleep(0.15)
        assert told(systemd) == []
        starting.progress("verify", 6_000_000, 10_000_000)
        time.sleep(0.12)
        assert len(told(systemd)) == 1


# --- systemd that does not listen --------------------------------------------------------------


def test_a_full_socket_does_not_hold_up_who_tells(systemd):
    begin = time.monotonic()
    while notify("WATCHDOG=1"):
        assert time.monotonic() - begin < 5
    assert time.monotonic() - begin < 1
    assert not notify("READY=1")
    told(systemd)
    assert notify("READY=1")


def test_a_socket_that_is_gone_is_logged(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")
    assert "systemd can't be told: No such file" in caplog.text


def test_where_nobody_asked_there_is_nothing_to_tell(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1")


def test_the_first_word_to_systemd_comes_before_what_takes_long(systemd):
    systemd.settimeout(20)
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-s", "-P", "-m", "local_opus.serve", "--config", "/no/such"],
        stderr=subprocess.PIPE,
    )
    first = systemd.recv(4096).decode()
    first_at = time.monotonic() - begin
    process.communicate()
    whole = time.monotonic() - begin
    assert first == "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=Starting"
    assert first_at < whole / 3
    assert process.returncode == 2
