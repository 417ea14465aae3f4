"""Signals that come while settings are read again or taken: none of them is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from servers import FAKE_ENGINE, FAST, is_ready, settings, wait_for

from local_opus.errors import LocalOpusError
from local_opus.server import life
from local_opus.server.engine_client import EngineClient
from local_opus.server.life import Life
from local_opus.server.listening import bind
from local_opus.server.standing import Proven, Standing

BEFORE, FIRST, SECOND = (Proven(settings(max_queue=number)) for number in (1, 2, 3))


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standing]:
    monkeypatch.setattr(life, "GRACE", 1.0)
    made = Standing()
    with made.signals.keep_hangups():
        yield made


def served(
    standing: Standing,
    reread: Callable[..., Proven],
    script: Callable[[str], None],
    model: str = "fake",
) -> int | Proven:
    """Serve until it ends by itself; ``script`` is what happens to it meanwhile."""
    engine = EngineClient(
        {"op": "load", "model": model},  # type: ignore[typeddict-item]
        max_in_flight=9,
        command=FAKE_ENGINE,
        timing=FAST,
    )
    with bind("127.0.0.1", 0) as listener:
        actor = threading.Thread(target=script, args=(url(listener),))
        actor.start()
        try:
            return Life(BEFORE, engine, standing, reread=reread).run(listener)
        finally:
            actor.join()


def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def ask(at: str) -> None:
    """Ask what is answered only when the server cuts it off."""
    body = {"model": "fake", "messages": [{"role": "user", "content": "hang"}]}
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(f"{at}/v1/chat/completions", json=body, timeout=20)


@contextlib.contextmanager
def asked(at: str) -> Iterator[None]:
    """While a server that is ready has a request: it ends later than it is told to."""
    wait_for(lambda: is_ready(at))
    asking = threading.Thread(target=ask, args=(at,))
    asking.start()
    time.sleep(0.2)
    yield
    asking.join()


@pytest.mark.parametrize("seconds", [0.05, 0.5], ids=["while it is read", "while it is taken"])
def test_a_server_that_is_to_end_does_not_take_other_settings(
    standing: Standing, seconds: float
) -> None:
    def reread(_progress: object) -> Proven:
        time.sleep(0.2)
        return FIRST

    def script(at: str) -> None:
        with asked(at):
            hang_up()
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGTERM)

    assert served(standing, reread, script) == 0


def test_a_reload_that_comes_while_settings_are_taken_is_done_by_the_next_server(
    standing: Standing,
) -> None:
    def script(at: str) -> None:
        with asked(at):
            hang_up()
            time.sleep(0.5)
            hang_up()

    assert served(standing, lambda _: FIRST, script) == FIRST
    assert served(standing, lambda _: SECOND, lambda _: None) == SECOND


def test_a_reload_that_comes_between_two_servers_is_done_by_the_next(standing: Standing) -> None:
    def script(at: str) -> None:
        wait_for(lambda: is_ready(at))
        hang_up()

    assert served(standing, lambda _: FIRST, script) == FIRST
    hang_up()
    assert served(standing, lambda _: SECOND, lambda _: None) == SECOND


def test_a_reload_that_comes_while_the_config_is_read_has_it_read_once_more(
    standing: Standing,
) -> None:
    found = iter([FIRST, SECOND])

    def reread(_progress: object) -> Proven:
        time.sleep(0.2)
        return next(found)

    def script(at: str) -> None:
        wait_for(lambda: is_ready(at))
        hang_up()
        time.sleep(0.1)
        hang_up()

    assert served(standing, reread, script) == SECOND


def test_a_reload_that_a_failing_engine_cut_off_is_done_by_the_next_server(
    standing: Standing,
) -> None:
    def reread(_progress: object) -> Proven:
        time.sleep(20)
        return FIRST

    hang_up()
    with pytest.raises(LocalOpusError, match="the weights are not there"):
        served(standing, reread, lambda _: None, model="refused")
    assert served(standing, lambda _: SECOND, lambda _: None) == SECOND
