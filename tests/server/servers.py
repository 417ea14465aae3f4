"""How tests start servers: with the real model, or with an engine that has none."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import uvicorn

from local_opus.server.app import create_app
from local_opus.server.connection import Connection
from local_opus.server.engine_client import EngineClient
from local_opus.server.engine_process import Timing
from local_opus.server.listening import bind
from local_opus.server.settings import Settings, parse
from models import CHECKOUT

FAKE_ENGINE = (sys.executable, str(Path(__file__).with_name("fake_engine.py")))
FAST = Timing(load=5, stall=5, floor=5, pause=0.05, stop=1, watch=0.05)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until ``condition`` holds; fail when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def free_port() -> int:
    with bind("127.0.0.1", 0) as listener:
        return listener.getsockname()[1]


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


class RealServer:
    """A server process with the real model."""

    def __init__(self, folder: Path, model: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "server.json"
        self.log = folder / "log"
        document = {
            "schema_version": 1,
            "port": self.port,
            "model": "smollm2-135m",
            "model_folder": str(model),
            "context_length": 8192,
            **settings,
        }
        self.config.write_text(json.dumps(document))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "local_opus.server", "--config", str(self.config)],
                env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """End it also when a test fails half-way; its engine dies with it."""
        self.process.kill()
        self.process.wait()

    def engine_pid(self) -> int | None:
        return httpx.get(f"{self.url}/health").json()["engine"]["pid"]

    def in_flight(self) -> int:
        return httpx.get(f"{self.url}/health").json()["engine"]["requests_in_flight"]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


def settings(**fields: object) -> Settings:
    document = {"schema_version": 1, "model": "fake", "model_folder": "/m", "context_length": 99}
    return parse(json.dumps({**document, **fields}), "settings of the test")


class ThreadServer:
    """The app over HTTP in a thread of this process, with the engine that has no model."""

    def __init__(
        self, chosen: Settings, engine: EngineClient, listener: socket.socket | None = None
    ) -> None:
        self.engine = engine
        self._listener = listener or bind("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            create_app(chosen, engine),
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve([self._listener]))
        )

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()
        assert not self._thread.is_alive()

    @property
    def connections(self) -> set[Connection]:
        return self._server.server_state.connections

    def chat(self, text: str, **fields: object) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/chat/completions",
            json={"model": "fake", "messages": [{"role": "user", "content": text}], **fields},
        )


@contextmanager
def fake_server(*, ready: bool = True, **fields: object) -> Iterator[ThreadServer]:
    chosen = settings(**fields)
    engine = EngineClient(
        {"op": "load", "model": chosen.model},  # type: ignore[typeddict-item]
        max_in_flight=chosen.max_concurrent + chosen.max_queue,
        command=FAKE_ENGINE,
        timing=FAST,
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    with ThreadServer(chosen, engine) as running:
        if ready:
            wait_for(lambda: is_ready(running.url))
        yield running
