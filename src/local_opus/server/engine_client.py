"""Keeps an engine running and hands requests to it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, cast

from local_opus.runtime import protocol
from local_opus.runtime.engine_protocol import (
    ChatMessage,
    Failed,
    Finished,
    Load,
    Metrics,
    Ready,
    Sampling,
    Started,
    Tokens,
)
from local_opus.server.engine_errors import (
    EngineUnavailableError,
    GenerationFailedError,
    QueueFullError,
)
from local_opus.server.engine_process import COMMAND, EngineProcess, Timing
from local_opus.server.generation import Generation

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "restarting", "failed", "stopped"]
#: Seconds that a process which closed its output has to end.
END_SECONDS = 5
#: Seconds a client is told to wait at most.
_LONGEST_WAIT = 60


class EngineClient:
    """One engine process at a time, restarted when it ends.

    A model that can't be loaded is not tried for ever: after ``MAX_FAILURES`` ends in a row before
    the engine was ready (one, if it says itself that it can't), the state is ``failed``. So it is
    when ``changed``, asked once the weights are loaded, names one that is not the one verified:
    what such an engine would answer is nobody's business.
    """

    MAX_FAILURES = 3

    def __init__(
        self,
        load: Load,
        *,
        max_in_flight: int,
        command: Sequence[str] = COMMAND,
        timing: Timing | None = None,
        changed: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.state: State = "loading"
        self.reason = f"loading {load['model']}"
        self.ready: Ready | None = None
        self.metrics: Metrics | None = None
        self.restarts = 0
        #: Why the engine was given up; None: it was not.
        self.failure: str | None = None
        #: Which weights were not those verified when the engine had loaded them; None: all were.
        self.swapped: str | None = None
        self._weights_changed = changed
        self._load = load
        self._max_in_flight = max_in_flight
        self._command = command
        self._timing = timing or Timing()
        self._process: EngineProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._in_flight: dict[int, Generation] = {}
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()
        self._heard_at = time.monotonic()
        self._refused: str | None = None
        self._usual_seconds = 1.0

    @property
    def in_flight(self) -> int:
        """Requests that the engine has not answered."""
        return len(self._in_flight)

    @property
    def pid(self) -> int | None:
        """The engine's process number, None between two of them."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Begin to load the model; returns at once."""
        self._supervisor = asyncio.create_task(self._supervise(), name="engine")
        self._supervisor.add_done_callback(self._supervisor_ended)

    async def stop(self) -> None:
        """End the engine and fail what is in flight. It can be called twice."""
        self._set("stopped", "the server is shutting down")
        self._fail_all("The server is shutting down.", "shutting_down")
        if self._supervisor is None:
            return
        if self._process is not None:
            self._process.send({"op": "shutdown"})
            self._process.close()
            await asyncio.wait({self._supervisor}, timeout=self._timing.stop)
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)

    async def wait_ready(self) -> Ready:
        """Wait until the model is loaded. Raises EngineUnavailableError when that fails."""
        while True:
            self._changed.clear()
            if self.state == "ready" and self.ready is not None:
                return self.ready
            if self.state in {"failed", "stopped"}:
                raise self.unavailable()
            await self._changed.wait()

    async def wait_failed(self) -> None:
        """Wait until the engine is given up; ``failure`` then says why."""
        while self.failure is None:
            self._changed.clear()
            await self._changed.wait()

    def unavailable(self) -> EngineUnavailableError:
        """Return the error that says why requests can't be taken now."""
        codes = {"stopped": "shutting_down", "ready": "engine_crashed"}
        code = codes.get(self.state, f"engine_{self.state}")
        text = f"The engine is not available: {self.reason}."
        return EngineUnavailableError(text, code=code, retry_after=self._retry_after_load())

    def submit(self, messages: list[ChatMessage], sampling: Sampling) -> Generation:
        """Hand a request to the engine.

        Raises EngineUnavailableError, and QueueFullError when too many requests are in flight.
        """
        if self.state != "ready" or self._process is None:
            raise self.unavailable()
        if len(self._in_flight) >= self._max_in_flight:
            wait = min(_LONGEST_WAIT, max(1, math.ceil(self._usual_seconds)))
            text = f"{self._max_in_flight} requests are in work or waiting; try again in {wait} s."
            raise QueueFullError(text, retry_after=wait)
        generation = Generation(next(self._ids), self._cancel)
        self._process.send(
            {"op": "generate", "id": generation.id, "messages": messages, "sampling": sampling}
        )
        if not self._in_flight:
            self._heard_at = time.monotonic()
        self._in_flight[generation.id] = generation
        return generation

    def _cancel(self, request_id: int) -> None:
        # It stays in flight until the engine says that it is gone: till then it takes its place.
        if self._process is not None and request_id in self._in_flight:
            self._process.send({"op": "cancel", "id": request_id})

    @property
    def _stopping(self) -> bool:
        return self.state == "stopped"

    def _set(self, state: State, reason: str) -> None:
        if self.state != "stopped":
            self.state, self.reason = state, reason
        if self.state == "failed":
            self.failure = reason
        self._changed.set()

    def _supervisor_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the engine's supervisor ended", exc_info=error)
            self._set("failed", f"{type(error).__name__}: {error}")
            self._fail_all("The engine failed; the server's log says why.", "engine_failed")

    async def _supervise(self) -> None:
        failures = crashes = 0
        while not self._stopping:
            self.ready, self._refused = None, None
            began = time.monotonic()
            how = await self._run()
            if self._stopping:
                return
            served = self.ready is not None
            failures = 0 if served else failures + 1
            stable = served and time.monotonic() - began > self._timing.stable
            crashes = 1 if stable else crashes + 1
            log.error("the engine ended: %s", how)
            if self._refused is not None or failures >= self.MAX_FAILURES:
                self._set("failed", how)
                self._fail_all(f"The engine failed: {how}.", "engine_failed")
                return
            self.restarts += 1
            self._set("restarting", f"it ended ({how}) and is being restarted")
            self._fail_all(f"The engine crashed ({how}); it is being restarted.", "engine_crashed")
            pause = self._timing.pause * 2 ** min(crashes - 1, 16)
            await asyncio.sleep(min(pause, self._timing.longest_pause))

    async def _run(self) -> str:
        """Run one engine to its end; return how that came."""
        try:
            process = await EngineProcess.start(self._command)
        except OSError as error:
            return f"{self._command[0]}: {error.strerror}"
        self._process = process
        self._heard_at = time.monotonic()
        watchdog = asyncio.create_task(self._watch(process))
        trouble = ""
        try:
            process.send(self._load)
            async for message in process.messages():
                self._heard_at = time.monotonic()
                self._dispatch(message)
                if self.swapped is not None:
                    trouble = f"{self.swapped} after it was verified"
                    break
        except (protocol.FrameError, KeyError) as error:
            trouble = f"it broke the protocol: {error}"
        finally:
            watchdog.cancel()
            if trouble or self._stopping:
                process.kill()
            self._process = None
            how = await self._end(process)
        return self._refused or trouble or how

    @staticmethod
    async def _end(process: EngineProcess) -> str:
        try:
            return await asyncio.wait_for(process.end(), END_SECONDS)
        except TimeoutError:
            process.kill()
            return await process.end()
        except asyncio.CancelledError:
            process.kill()
            await process.end()
            raise

    def _dispatch(self, message: protocol.Message) -> None:
        match message["event"]:
            case "tokens":
                for delta in cast("Tokens", message)["deltas"]:
                    if (generation := self._in_flight.get(delta["id"])) is not None:
                        generation.put(delta["text"])
            case "started":
                started = cast("Started", message)
                if (generation := self._in_flight.get(started["id"])) is not None:
                    generation.put(started["prompt_tokens"])
            case "finished" | "failed":
                self._end_of_request(cast("Finished | Failed", message))
            case "metrics":
                self.metrics = cast("Metrics", message)
            case "ready":
                self._loaded(cast("Ready", message))
            case "load_failed":
                self._refused = str(message["text"])
            case other:
                raise protocol.FrameError(f"an event {other!r}")

    def _loaded(self, ready: Ready) -> None:
        self.swapped = self._weights_changed()
        if self.swapped is not None:
            self._refused = f"{self.swapped} after it was verified"
            return
        self.ready = ready
        self._set("ready", "")
        log.info("the engine is ready: %s", self.ready)

    def _end_of_request(self, message: Finished | Failed) -> None:
        generation = self._in_flight.pop(message["id"], None)
        if generation is None:
            return
        if message["event"] == "failed":
            generation.put(GenerationFailedError(message["code"], message["text"]))
            return
        generation.put(message)
        if message["reason"] != "cancelled":
            seconds = time.monotonic() - generation.begun_at
            self._usual_seconds += (seconds - self._usual_seconds) / 8

    async def _watch(self, process: EngineProcess) -> None:
        """End an engine that loads for too long, or is silent though it has work."""
        while True:
            await asyncio.sleep(self._timing.watch)
            silent = time.monotonic() - self._heard_at
            loading = self.ready is None
            if silent > (self._timing.load if loading else self._timing.silence) and (
                loading or self._in_flight
            ):
                log.error("the engine has been silent for %.0f s and is ended", silent)
                process.kill()
                return

    def _fail_all(self, text: str, code: str) -> None:
        generations, self._in_flight = list(self._in_flight.values()), {}
        for generation in generations:
            wait = self._retry_after_load()
            generation.put(EngineUnavailableError(text, code=code, retry_after=wait))

    def _retry_after_load(self) -> int:
        seconds = 5.0 if self.ready is None else self.ready["load_seconds"] + 1
        return min(_LONGEST_WAIT, math.ceil(seconds))
