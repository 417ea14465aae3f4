"""An engine that loads, crashes, hangs, babbles, and what clients are told of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace

import httpx
import pytest
from servers import FAKE_ENGINE, FAST, fake_server, is_ready, wait_for

from local_opus.server.engine_client import EngineClient
from local_opus.server.engine_errors import EngineUnavailableError


def ready(url: str) -> httpx.Response:
    return httpx.get(f"{url}/ready")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_while_it_loads_it_is_healthy_and_not_ready():
    with fake_server(ready=False, model="slow") as running:
        wait_for(lambda: running.engine.pid is not None)
        pid = running.engine.pid
        assert httpx.get(f"{running.url}/health").json()["engine"]["state"] == "loading"
        for response in (ready(running.url), running.chat("say x", model="slow")):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "engine_loading"
            assert response.json()["error"]["type"] == "engine_unavailable"
            assert int(response.headers["retry-after"]) >= 1
    assert not is_alive(pid)


def test_a_model_that_cannot_be_loaded_is_told_and_not_tried_again():
    with fake_server(ready=False, model="refused") as running:
        wait_for(lambda: running.engine.state == "failed")
        assert running.engine.restarts == 0
        told = ready(running.url).json()["error"]
        assert told["code"] == "engine_failed"
        assert "the weights are not there" in told["message"]


def test_a_crash_at_every_load_ends_after_three():
    with fake_server(ready=False, model="dies") as running:
        wait_for(lambda: running.engine.state == "failed")
        assert running.engine.restarts == EngineClient.MAX_FAILURES - 1
        assert "SIGSEGV" in ready(running.url).json()["error"]["message"]


@pytest.mark.parametrize("how", ["crash", "babble"])
def test_an_engine_that_ends_costs_one_503_and_comes_back(how):
    with fake_server() as running:
        response = running.chat(how)
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "engine_crashed"
        wait_for(lambda: is_ready(running.url))
        assert running.engine.restarts == 1
        assert running.chat("say Hello").status_code == 200


def test_a_crash_in_a_stream_is_an_event_and_its_end():
    with fake_server() as running:
        events = running.chat("crash", stream=True).text.split("\n\n")
        assert json.loads(events[-2].removeprefix("data: "))["error"]["code"] == "engine_crashed"
        assert "[DONE]" not in events[-2]
        assert '"last"' in events[-3]


def test_a_killed_engine_fails_all_that_is_in_flight():
    with fake_server() as running, httpx.Client() as client:
        body = {"model": "fake", "messages": [{"role": "user", "content": "count"}], "stream": True}
        with client.stream("POST", f"{running.url}/v1/chat/completions", json=body) as response:
            wait_for(lambda: running.engine.in_flight == 1)
            os.kill(running.engine.pid, signal.SIGKILL)
            assert "SIGKILL" in response.read().decode()
        assert running.engine.in_flight == 0


def client(model: str, **timing: float) -> EngineClient:
    load = {"op": "load", "model": model}
    return EngineClient(load, max_in_flight=1, command=FAKE_ENGINE, timing=replace(FAST, **timing))


def test_a_silent_engine_is_ended():
    async def ask():
        engine = client("fake", floor=0.4, ceiling=0.4)
        await engine.start()
        await engine.wait_ready()
        await asyncio.sleep(0.6)  # it turns without work too
        assert engine.restarts == 0
        sampling = {}
        async with engine.submit([{"role": "user", "content": "freeze"}], sampling) as generation:
            await generation.begin()
            with pytest.raises(EngineUnavailableError, match=r"SIGKILL.*did not turn for 0"):
                await anext(generation.texts())
        await engine.stop()

    asyncio.run(ask())


def test_a_load_that_takes_too_long_is_ended():
    async def ask():
        engine = client("slow", load=0.2)
        await engine.start()
        with pytest.raises(EngineUnavailableError, match="SIGKILL"):
            await engine.wait_ready()
        await engine.stop()
        await engine.stop()

    asyncio.run(ask())


def test_stopping_tells_those_who_wait():
    async def ask():
        engine = client("fake")
        await engine.start()
        await engine.wait_ready()
        generation = engine.submit([{"role": "user", "content": "count"}], {})
        await generation.begin()
        pid = engine.pid
        await engine.stop()
        with pytest.raises(EngineUnavailableError) as caught:
            [text async for text in generation.texts()]
        assert caught.value.code == "shutting_down"
        assert not is_alive(pid)

    asyncio.run(ask())


def test_two_who_stop_a_stopped_engine_both_succeed():
    async def ask():
        engine = client("fake", stop=0.3)
        await engine.start()
        await engine.wait_ready()
        pid = engine.pid
        os.kill(pid, signal.SIGSTOP)
        first = asyncio.create_task(engine.stop())
        await asyncio.sleep(0.1)
        await engine.stop()
        await first
        assert not is_alive(pid)

    asyncio.run(ask())


def test_a_program_that_is_not_there_is_a_failure():
    async def ask():
        engine = EngineClient({"model": "m"}, max_in_flight=1, command=["/no/such"], timing=FAST)
        await engine.start()
        with pytest.raises(EngineUnavailableError, match="/no/such: No such file"):
            await engine.wait_ready()
        await engine.stop()

    asyncio.run(ask())
