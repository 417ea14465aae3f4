"""Keeps an engine running and hands requests to it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, cast

from local_opus.runtime import protocol
from local_opus.runtime.engine_protocol import ChatMessage, Load, Metrics, Ready, Sampling
from local_opus.server import oom
from local_opus.server.engine_errors import EngineUnavailableError
from local_opus.server.engine_process import COMMAND, EngineProcess, Timing
from local_opus.server.generation import Generation
from local_opus.server.in_flight import LONGEST_WAIT, InFlight
from local_opus.server.load_clock import LoadClock
from local_opus.server.turns import Turns

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "restarting", "failed", "stopped"]
#: Seconds that a process which closed its output has to end.
END_SECONDS = 5


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
        #: How the engine last ended; None: it did not.
        self.last_end: str | None = None
        #: Why the engine was given up; None: it was not.
        self.failure: str | None = None
        #: Which weights were not those verified when the engine had loaded them; None: all were.
        self.swapped: str | None = None
        self._weights_changed = changed
        self._load = load
        self._command = command
        self._timing = timing or Timing()
        self.turns = Turns(self._timing.floor, self._timing.ceiling)
        self._process: EngineProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._in_flight = InFlight(max_in_flight)
        self._changed = asyncio.Event()
        self._clock: LoadClock | None = None
        #: Why the engine was ended from here; None: it was not.
        self._killed: str | None = None
        self._refused: str | None = None

    @property
    def in_flight(self) -> int:
        """Requests that the engine has not answered."""
        return len(self._in_flight)

    @property
    def pid(self) -> int | None:
        """The engine's process number, None between two of them."""
        return None if self._process is None else self._process.pid

    @property
    def gets_on(self) -> bool:
        """Whether a model is being loaded, and that within its limits."""
        return self.state in {"loading", "restarting"} and self._killed is None

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

    async def wait_unready(self) -> None:
        """Wait until the model can't be asked any more."""
        while self.state == "ready":
            self._changed.clear()
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
        generation = self._in_flight.new(self._cancel)
        self._process.send(
            {"op": "generate", "id": generation.id, "messages": messages, "sampling": sampling}
        )
        self._in_flight.add(generation)
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
            self.ready, self._refused, self._killed = None, None, None
            began = time.monotonic()
            how = await self._run()
            if self._stopping:
                return
            served = self.ready is not None
            failures = 0 if served else failures + 1
            stable = served and time.monotonic() - began > self._timing.stable
            crashes = 1 if stable else crashes + 1
            self._killed, self.last_end = None, how
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
        self._clock = LoadClock(process.pid, longest=self._timing.load, stall=self._timing.stall)
        kills = oom.kills()
        watchdog = asyncio.create_task(self._watch(process, self._clock))
        trouble = ""
        try:
            process.send(self._load)
            async for message in process.messages():
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
        if self._killed is not None:
            how = f"SIGKILL of the server's: {self._killed}"
        elif how == "SIGKILL" and not (trouble or self._stopping):
            how = f"SIGKILL: {oom.explain(kills)}"
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
        if self.ready is not None:
            self.turns.heard()
        if self._in_flight.tell(message):
            return
        match message["event"]:
            case "metrics":
                self.metrics = cast("Metrics", message)
                self.turns.took(self.metrics["longest_turn"])
            case "loading":
                if self._clock is not None:
                    self._clock.heard()
                self._set(self.state, f"loading {self._load['model']} ({message['stage']})")
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
        self.turns.begin(ready["warm_up"])
        self.ready = ready
        self._set("ready", "")
        log.info("the engine is ready: %s", self.ready)
        if (lock := ready["memory_lock"]) is not None and lock["error"] is not None:
            log.warning("the engine's memory is not locked: %s", lock["error"])

    async def _watch(self, process: EngineProcess, clock: LoadClock) -> None:
        """End an engine whose load does not get on, or whose loop does not turn."""
        while self._killed is None:
            slept = time.monotonic()
            await asyncio.sleep(self._timing.watch)
            if time.monotonic() - slept > 2 * self._timing.watch + 1:
                continue  # this process was held up itself: what the engine said is not read yet
            if self.ready is None:
                self._killed = clock.overdue()
            elif self.turns.age > self.turns.limit:
                self._killed = f"its loop did not turn for {self.turns.age:.1f} s"
        log.error("the engine is ended: %s", self._killed)
        process.kill()

    def _fail_all(self, text: str, code: str) -> None:
        self._in_flight.fail_all(text, code, self._retry_after_load())

    def _retry_after_load(self) -> int:
        seconds = 5.0
        if self.ready is not None:
            seconds = self.ready["load_seconds"] + self.ready["warm_up"]["seconds"] + 1
        return min(LONGEST_WAIT, math.ceil(seconds))
