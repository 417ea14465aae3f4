"""The requests that the engine has not answered, by their numbers."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import cast

from local_opus.runtime import protocol
from local_opus.runtime.engine_protocol import Failed, Finished, Started, Tokens
from local_opus.server.engine_errors import (
    EngineUnavailableError,
    GenerationFailedError,
    QueueFullError,
)
from local_opus.server.generation import Generation

#: Seconds a client is told to wait at most.
LONGEST_WAIT = 60


class InFlight:
    """At most ``most`` requests; each gets what the engine says of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._generations: dict[int, Generation] = {}
        self._ids = itertools.count(1)
        self._usual_seconds = 1.0

    def __len__(self) -> int:
        return len(self._generations)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._generations

    def new(self, cancel: Callable[[int], None]) -> Generation:
        """Return the next request; ``add`` it when it was sent. Raises QueueFullError."""
        if len(self._generations) >= self._most:
            wait = min(LONGEST_WAIT, max(1, math.ceil(self._usual_seconds)))
            text = f"{self._most} requests are in work or waiting; try again in {wait} s."
            raise QueueFullError(text, retry_after=wait)
        return Generation(next(self._ids), cancel)

    def add(self, generation: Generation) -> None:
        """Take a request that the engine was sent."""
        self._generations[generation.id] = generation

    def tell(self, message: protocol.Message) -> bool:
        """Hand an event to whom it concerns; False: it is none about requests."""
        match message["event"]:
            case "tokens":
                for delta in cast("Tokens", message)["deltas"]:
                    if (generation := self._generations.get(delta["id"])) is not None:
                        generation.put(delta["text"])
            case "started":
                started = cast("Started", message)
                if (generation := self._generations.get(started["id"])) is not None:
                    generation.put(started["prompt_tokens"])
            case "finished" | "failed":
                self._end(cast("Finished | Failed", message))
            case _:
                return False
        return True

    def _end(self, message: Finished | Failed) -> None:
        generation = self._generations.pop(message["id"], None)
        if generation is None:
            return
        if message["event"] == "failed":
            generation.put(GenerationFailedError(message["code"], message["text"]))
            return
        generation.put(message)
        if message["reason"] != "cancelled":
            seconds = time.monotonic() - generation.begun_at
            self._usual_seconds += (seconds - self._usual_seconds) / 8

    def fail_all(self, text: str, code: str, retry_after: int) -> None:
        """Tell all of them that the engine is gone."""
        generations, self._generations = list(self._generations.values()), {}
        for generation in generations:
            generation.put(EngineUnavailableError(text, code=code, retry_after=retry_after))
