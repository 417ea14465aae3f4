"""The engine worker: continuous batching, one step after the other, in one thread.

``step()`` holds Python's lock, so a thread that reads requests would only wait for it: standard
input is polled between steps instead, and waited for while nothing runs. The loop turns then too,
every few seconds: its turns are what tells the server, and by it systemd, that the engine lives.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from typing import BinaryIO, cast

from local_opus.children import die_with_parent
from local_opus.runtime import memory_lock, protocol, worker
from local_opus.runtime.engine_protocol import (
    Delta,
    Failed,
    FailureCode,
    Finished,
    FinishReason,
    Generate,
    Load,
    Metrics,
    Ready,
)
from local_opus.runtime.model import Model, RequestError, load
from local_opus.runtime.text import Detokenizer, StopStrings
from local_opus.runtime.warm_up import warm_up

#: Seconds between two heartbeats while the engine works, and between two turns while it is idle.
HEARTBEAT = 1.0
IDLE_TURN = 2.0
READ_SIZE = 1 << 20


class Running:
    """One request in the pipeline."""

    def __init__(self, model: Model, request: Generate) -> None:
        """Add the request to the pipeline. Raises RequestError when the model can't take it."""
        tokens = model.prompt_tokens(request)
        self.id = request["id"]
        self.prompt_tokens = int(tokens.shape[1])
        self.completion_tokens = 0
        self._config = model.generation_config(request["sampling"], self.prompt_tokens)
        self._ends = model.end_tokens
        self._text = Detokenizer(model.tokenizer.decode)
        self._stops = StopStrings(request["sampling"]["stop"])
        self._handle = model.pipeline.add_request(self.id, tokens, self._config)

    def cancel(self) -> None:
        """Take the request out of the pipeline; the next step forgets it."""
        self._handle.cancel()

    def read(self) -> tuple[Delta | None, FinishReason | None]:
        """Return what the last step made of this request, and why it ended, if it did.

        Raises RequestError when the KV cache can't hold even the prompt.
        """
        tokens: list[int] = []
        while self._handle.can_read():
            for output in self._handle.read().values():
                tokens += output.generated_ids
        self.completion_tokens += len(tokens)
        ended = bool(tokens) and tokens[-1] in self._ends
        text = self._text.add(tokens[:-1] if ended else tokens)
        reason: FinishReason | None = self._reason(ended=ended)
        if reason is not None:
            text += self._text.finish()
        text = self._stops.add(text)
        if self._stops.hit:
            if reason is None:
                self.cancel()
            reason = "stop"
        elif reason is not None:
            text += self._stops.finish()
        if not tokens and not text:
            return None, reason
        return {"id": self.id, "text": text, "tokens": len(tokens)}, reason

    def _reason(self, *, ended: bool) -> FinishReason | None:
        status = self._handle.get_status().name
        if ended:
            return "stop"
        if status == "RUNNING":
            return None
        if status == "IGNORED" and not self.completion_tokens:
            raise RequestError(
                "kv_cache_exhausted",
                f"the KV cache has no room for a prompt of {self.prompt_tokens} tokens; "
                "raise cache_size_gb in the server's config",
            )
        # Finished by length, or the KV cache is full: either way the answer is cut short.
        return "length"


class Engine:
    """The loop over one loaded model."""

    def __init__(self, model: Model, out: BinaryIO) -> None:
        self._model = model
        self._out = out
        self._running: dict[int, Running] = {}
        self._frames = bytearray()
        self._tokens_generated = 0
        self._turns = 0
        self._longest_turn = 0.0
        self._last_heartbeat = 0.0

    @property
    def busy(self) -> bool:
        """Whether the pipeline has work."""
        return bool(self._model.pipeline.has_non_finished_requests())

    def accept(self, message: protocol.Message) -> bool:
        """Act on one message of the server; False when the engine shall end."""
        match message.get("op"):
            case "generate":
                self._generate(cast("Generate", message))
            case "cancel":
                self._cancel(cast("int", message["id"]))
            case "shutdown":
                return False
            case other:
                raise protocol.FrameError(f"the engine knows no message {other!r}")
        return True

    def step(self) -> None:
        """Run one step of the pipeline and queue what it made."""
        self._model.pipeline.step()
        deltas: list[Delta] = []
        ends: list[Finished | Failed] = []
        for running in list(self._running.values()):
            try:
                delta, reason = running.read()
            except RequestError as error:
                ends.append(_failed(running.id, error.code, str(error)))
                continue
            if delta is not None:
                deltas.append(delta)
                self._tokens_generated += delta["tokens"]
            if reason is not None:
                ends.append(_finished(running, reason))
        if deltas:
            self._queue({"event": "tokens", "deltas": deltas})
        for end in ends:
            del self._running[end["id"]]
            self._queue(end)

    def turned(self, seconds: float) -> None:
        """Count a turn of the loop, and tell of it now and then."""
        self._turns += 1
        self._longest_turn = max(self._longest_turn, seconds)
        now = time.monotonic()
        if not self._running or now - self._last_heartbeat >= HEARTBEAT:
            self._last_heartbeat = now
            self._tell()

    def flush(self) -> None:
        """Write what is queued, in one piece. Raises BrokenPipeError when the server is gone."""
        if self._frames:
            self._out.write(self._frames)
            self._out.flush()
            self._frames = bytearray()

    def _queue(self, message: Mapping[str, object]) -> None:
        self._frames += protocol.encode(message)

    def _generate(self, request: Generate) -> None:
        try:
            running = Running(self._model, request)
        except RequestError as error:
            self._queue(_failed(request["id"], error.code, str(error)))
            return
        except RuntimeError as error:  # the library refuses this request, and only this one
            text = str(error).strip().splitlines()[-1]
            self._queue(_failed(request["id"], "internal", text))
            return
        self._running[running.id] = running
        started = {"event": "started", "id": running.id, "prompt_tokens": running.prompt_tokens}
        self._queue(started)

    def _cancel(self, request_id: int) -> None:
        running = self._running.pop(request_id, None)
        if running is not None:
            running.cancel()
            self._queue(_finished(running, "cancelled"))

    def _tell(self) -> None:
        metrics = self._model.pipeline.get_metrics()
        beat: Metrics = {
            "event": "metrics",
            "requests": len(self._running),
            "cache_usage": round(metrics.cache_usage / 100, 4),
            "cache_bytes": metrics.cache_size_in_bytes,
            "tokens_generated": self._tokens_generated,
            "turns": self._turns,
            "longest_turn": round(self._longest_turn, 3),
        }
        self._queue(beat)


def _failed(request_id: int, code: FailureCode, text: str) -> Failed:
    return {"event": "failed", "id": request_id, "code": code, "text": text}


def _finished(running: Running, reason: FinishReason) -> Finished:
    return {
        "event": "finished",
        "id": running.id,
        "reason": reason,
        "prompt_tokens": running.prompt_tokens,
        "completion_tokens": running.completion_tokens,
    }


def serve(descriptor: int, out: BinaryIO) -> int:
    """Load the model that the first message names and serve until the server goes."""
    decoder = protocol.Decoder()
    engine: Engine | None = None
    while True:
        wait = None if engine is None else 0 if engine.busy else IDLE_TURN
        has_input = bool(select.select([descriptor], [], [], wait)[0])
        began = time.monotonic()
        if has_input:
            data = os.read(descriptor, READ_SIZE)
            if not data:
                return 0
            for message in decoder.feed(data):
                if engine is None:
                    engine = _load(message, out)
                    if engine is None:
                        return 1
                    began = time.monotonic()
                elif not engine.accept(message):
                    return 0
                else:  # many that wait, each with a long prompt, are a turn each
                    began = _turn(engine, began)
        if engine is not None:
            if engine.busy:
                engine.step()
            _turn(engine, began)


def _turn(engine: Engine, began: float) -> float:
    """End a turn of the loop; return when the next began."""
    now = time.monotonic()
    engine.turned(now - began)
    engine.flush()
    return now


def _load(message: protocol.Message, out: BinaryIO) -> Engine | None:
    if message.get("op") != "load":
        raise protocol.FrameError("the engine's first message must be 'load'")
    wanted = cast("Load", message)
    try:
        protocol.write(out, {"event": "loading", "stage": "read and compile"})
        model, loaded = load(wanted)
        protocol.write(out, {"event": "loading", "stage": "warm up"})
        timed = warm_up(model)
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
        protocol.write(out, {"event": "load_failed", "text": worker.plain(error)})
        return None
    locked = memory_lock.lock() if wanted.get("lock_memory") else None
    ready: Ready = {**loaded, "event": "ready", "warm_up": timed, "memory_lock": locked}
    protocol.write(out, ready)
    return Engine(model, out)


def main() -> int:
    """Run the engine on standard input and output; return the exit code."""
    die_with_parent()
    # Ctrl-C reaches the whole process group; the server decides when the engine ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.turn_telemetry_off()
    worker.go_offline()
    out = worker.take_standard_output()
    try:
        return serve(sys.stdin.fileno(), out)
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
