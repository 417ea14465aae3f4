"""One server's life: it listens, tells systemd how it goes, and ends or gives way to another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator

import uvicorn

from local_opus.errors import ExitCode, LocalOpusError, ProblemFoundError
from local_opus.runtime.engine_protocol import Ready
from local_opus.server import watchdog
from local_opus.server.app import create_app
from local_opus.server.connection import BACKLOG, Connection
from local_opus.server.engine_client import EngineClient
from local_opus.server.engine_errors import EngineUnavailableError
from local_opus.server.listening import shown
from local_opus.server.notify import PUSH, extend, notify
from local_opus.server.rereading import Reread, reread_aside
from local_opus.server.settings import Settings
from local_opus.server.standing import Proven, Standing

log = logging.getLogger(__name__)

#: Seconds for answers that are being made to come to their end; then they are told and cut off.
GRACE = 3.0
#: Seconds after which uvicorn ends what is still connected. With the engine's own time to end,
#: SIGTERM to exit takes less than 5 s.
CUT = 4
#: Seconds between two looks at the weights' files.
WEIGHTS_LOOK = 10.0
#: Seconds between two tries to tell systemd what it must hear.
_RETRY = 0.2


class _Server(uvicorn.Server):  # type: ignore[misc]  # mypy does not follow uvicorn's imports
    """uvicorn without its signal handlers: they end the process by the signal, not by an exit."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``serve``."""
        yield


class Life:
    """One server, from its start to its end."""

    def __init__(
        self,
        proven: Proven,
        engine: EngineClient,
        standing: Standing,
        *,
        keep: Callable[[Settings], None] | None = None,
        reread: Reread | None = None,
    ) -> None:
        self._proven = proven
        self._settings = proven.settings
        self._engine = engine
        self._standing = standing
        self._keep = keep
        self._reread = reread
        self._next: Proven | None = None
        self._stop = asyncio.Event()
        self._hangup = asyncio.Event()

    def run(self, listener: socket.socket) -> int | Proven:
        """Serve on ``listener``; as ``main.run``."""
        signals = self._standing.signals
        with signals.keep_ends():
            then = asyncio.run(self._serve(listener))
        # Who is to end takes no other settings, whenever in its last seconds that was asked.
        return ExitCode.DONE if then is None or signals.ended else then

    async def _serve(self, listener: socket.socket) -> Proven | None:
        settings, engine = self._settings, self._engine
        config = uvicorn.Config(
            create_app(settings, engine, self._standing),
            http=Connection,
            backlog=BACKLOG,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level=settings.log_level,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=CUT,
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()
        signals = self._standing.signals
        signals.tell = lambda: loop.call_soon_threadsafe(self._heed)
        self._heed()  # what was asked before there was a server to tell
        log.info("serving %s on %s", settings.model, shown(listener))
        tasks = (
            self._announce(),
            self._end(server),
            self._give_up(),
            self._reload(),
            self._look_at_weights(),
            watchdog.feed(engine),
        )
        helpers = [asyncio.create_task(task) for task in tasks]
        for helper in helpers:
            helper.add_done_callback(self._helper_ended)
        try:
            await server.serve([listener])
        finally:
            signals.forget()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        self._raise_failure()
        return self._next

    def _heed(self) -> None:
        """Do what signals have asked."""
        if self._standing.signals.ended:
            self._stop.set()
        if self._standing.signals.hung_up:
            self._hangup.set()

    def _raise_failure(self) -> None:
        settings, engine = self._settings, self._engine
        if engine.swapped is not None:
            raise ProblemFoundError(
                f"{settings.model_folder}/{engine.swapped} after it was verified, before the "
                "engine had loaded it",
                "Find out who writes there; verify with `local-opus verify`, then start it.",
            )
        if engine.failure is not None:
            raise LocalOpusError(
                f"{settings.model} on {settings.device}: the engine failed: {engine.failure}",
                _remedy(settings),
            )

    def _helper_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a part of the server ended", exc_info=error)
            self._stop.set()

    async def _announce(self) -> None:
        """Tell systemd how loading goes on, when the model has answered, and when it is gone."""
        engine = self._engine
        with contextlib.suppress(EngineUnavailableError):  # told by _give_up
            ready = await self._loaded()
            self._standing.served = True
            await self._tell("READY=1", self._status(ready))
            if self._keep is not None:
                await asyncio.to_thread(self._keep, self._settings)
            while True:
                await engine.wait_unready()
                await self._tell(f"STATUS={self._standing.status(f'The engine: {engine.reason}')}")
                await self._tell(self._status(await engine.wait_ready()))

    async def _loaded(self) -> Ready:
        waiting = asyncio.create_task(self._engine.wait_ready())
        while not waiting.done():
            if self._engine.gets_on:
                words = f"{self._engine.reason} on {self._settings.device}"
                extend(self._standing.status(words[:1].upper() + words[1:]))
            await asyncio.wait({waiting}, timeout=PUSH)
        return waiting.result()

    def _status(self, ready: Ready) -> str:
        words = f"Serving {self._settings.model} on {ready['device']}"
        return f"STATUS={self._standing.status(words)}"

    @staticmethod
    async def _tell(*lines: str) -> None:
        """Tell systemd what it must hear, as long as that takes."""
        while not notify(*lines):  # noqa: ASYNC110 - its socket wakes nobody
            await asyncio.sleep(_RETRY)

    async def _end(self, server: uvicorn.Server) -> None:
        """End politely: no new connections, a while for answers, then the engine."""
        await self._stop.wait()
        if self._next is None or self._standing.signals.ended:
            notify("STOPPING=1")
        else:
            now = int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)
            notify("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=Taking other settings")
        server.should_exit = True
        await asyncio.sleep(GRACE)
        await self._engine.stop()

    async def _give_up(self) -> None:
        await self._engine.wait_failed()
        self._stop.set()

    async def _reload(self) -> None:
        """Read the config again at SIGHUP. Nonsense is named, and changes nothing.

        One that comes once other settings are taken is left for the server that serves them.
        """
        signals = self._standing.signals
        while self._reread is not None:
            await self._hangup.wait()
            self._hangup.clear()
            signals.hung_up = False
            log.info("reading the config again")
            try:
                found = await reread_aside(self._reread)
            except asyncio.CancelledError:  # this server ends: the next one reads it
                signals.hung_up = True
                raise
            if signals.hung_up:  # what was read may be older than what that is about
                continue
            if isinstance(found, Proven):
                self._standing.config_problem = None
                if found.settings != self._settings:
                    self._next = found
                    self._stop.set()
                    return
                log.info("the config says what is served")
            else:
                self._standing.config_problem = f"{found.message}; what was served is served on"
                log.error("%s", "; ".join((found.message, *found.details, found.remedy)))
            ready = self._engine.ready
            if ready is not None:
                await self._tell(self._status(ready))

    async def _look_at_weights(self) -> None:
        """See now and then whether the files are those that were proven; nothing is hashed."""
        while True:
            await asyncio.sleep(WEIGHTS_LOOK)
            changed = await asyncio.to_thread(self._proven.changed)
            if changed is not None and changed != self._standing.weights_changed:
                log.error("%s/%s while it is served", self._settings.model_folder, changed)
            self._standing.weights_changed = changed


def _remedy(settings: Settings) -> str:
    if settings.device == "CPU":
        return f"Check the weights in {settings.model_folder} with `local-opus verify`."
    return (
        f"Ask `local-opus doctor` what {settings.device} lacks, or serve on the CPU: install again "
        "with `--device CPU`."
    )
