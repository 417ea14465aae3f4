"""One request in flight, as the API's side sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from local_opus.runtime.engine_protocol import Finished

#: The number of the prompt's tokens, new text, the end, or why there is none.
Event = int | str | Finished | Exception


class Generation:
    """The answer to one request while it is made.

    Use it as an async context manager: leaving it cancels what is not finished. ``begin`` comes
    first, then ``texts``, then ``finished`` is there.
    """

    def __init__(self, request_id: int, cancel: Callable[[int], None]) -> None:
        self.id = request_id
        self.begun_at = time.monotonic()
        self.finished: Finished | None = None
        self._cancel = cancel
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def put(self, event: Event) -> None:
        """Take an event from the engine's client."""
        self._over = self._over or not isinstance(event, int | str)
        self._events.put_nowait(event)

    def cancel(self) -> None:
        """Tell the engine to stop, unless it has finished."""
        if not self._over:
            self._over = True
            self._cancel(self.id)

    async def begin(self) -> int:
        """Wait until the engine has taken the prompt; return its number of tokens.

        Raises GenerationFailedError when it refuses it, EngineUnavailableError when it is gone.
        """
        event = await self._events.get()
        if isinstance(event, Exception):
            raise event
        if not isinstance(event, int):
            raise TypeError(f"the engine sent {event!r} before 'started'")
        return event

    async def texts(self) -> AsyncIterator[str]:
        """Yield new text as it comes; raises as ``begin`` does."""
        while self.finished is None:
            event = await self._events.get()
            text = ""
            while True:  # a slow client gets in one piece what has gathered
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, str):
                    text += event
                elif isinstance(event, dict):
                    self.finished = event
                if self._events.empty() or self.finished is not None:
                    break
                event = self._events.get_nowait()
            if text:
                yield text
