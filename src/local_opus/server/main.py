"""``python -m local_opus.server --config FILE``: the process that serves."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from local_opus.errors import (
    BadInputError,
    ExitCode,
    LocalOpusError,
    MachineCannotError,
    ProblemFoundError,
)
from local_opus.server.app import create_app, create_engine
from local_opus.server.connection import BACKLOG, Connection, raise_limit
from local_opus.server.engine_client import EngineClient
from local_opus.server.engine_errors import EngineUnavailableError
from local_opus.server.notify import notify, watchdog_seconds
from local_opus.server.passed import passed_socket
from local_opus.server.settings import Settings, load

log = logging.getLogger(__name__)

#: Seconds for answers that are being made to come to their end; then they are told and cut off.
GRACE = 3.0
#: Seconds after which uvicorn ends what is still connected. With the engine's own time to end,
#: SIGTERM to exit takes less than 5 s.
CUT = 4
#: Seconds by which the start's time limit is pushed on while a model loads, and between two pushes.
EXTENSION, PUSH = 30, 10
#: Connections beside those that wait for answers: health checks, idle clients.
SPARE = 512


class _Server(uvicorn.Server):  # type: ignore[misc]  # mypy does not follow uvicorn's imports
    """uvicorn without its signal handlers: they end the process by the signal, not by an exit."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``serve``."""
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server that the command line names; return its exit code."""
    parser = argparse.ArgumentParser(prog="local_opus.server", description=__doc__)
    parser.add_argument("--config", required=True, help="the server's settings, a JSON file")
    path = parser.parse_args(arguments).config
    _log_to_stderr("INFO")
    try:
        return run(load(path))
    except LocalOpusError as error:
        log.error("; ".join((error.message, *error.details, error.remedy)))  # noqa: TRY400 - for users
        return error.exit_code


def run(settings: Settings, changed: Callable[[], str | None] = lambda: None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    It listens on the socket that systemd passed, where it did; else it opens its port.
    ``changed`` says which weights are not those that were verified; it is asked when they are
    loaded. Raises BadInputError when the port is taken, MachineCannotError when the address can't
    be had, ProblemFoundError for changed weights, LocalOpusError when the model can't be loaded or
    the engine crashes again and again.
    """
    _log_to_stderr(settings.log_level.upper())
    raise_limit(settings.max_concurrent + settings.max_queue + SPARE)
    with passed_socket() or bind(settings.host, settings.port) as listener:
        return asyncio.run(serve(settings, create_engine(settings, changed), listener))


def _log_to_stderr(level: str) -> None:
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level, format=form, stream=sys.stderr, force=True)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises MachineCannotError when the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # A port whose old connections have not quite ended can be used again.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise BadInputError(
                f"port {port} on {host} is taken by another program",
                "End that program, or set another port in the server's config.",
            ) from error
        raise MachineCannotError(
            f"{host}:{port}: {error.strerror or error}",
            "Set an address of this machine and a port above 1023 in the server's config.",
        ) from error
    return sock


async def serve(settings: Settings, engine: EngineClient, listener: socket.socket) -> int:
    """Serve on ``listener`` until SIGTERM or SIGINT, or until the engine is given up."""
    config = uvicorn.Config(
        create_app(settings, engine),
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
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    address, port = listener.getsockname()[:2]
    log.info("serving %s on http://%s:%d", settings.model, address, port)
    helpers = [
        asyncio.create_task(_announce(settings, engine)),
        asyncio.create_task(_stop(stop, server, engine)),
        asyncio.create_task(_give_up(stop, engine)),
        asyncio.create_task(_feed_watchdog()),
    ]
    try:
        await server.serve([listener])
    finally:
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
    if engine.swapped is not None:
        raise ProblemFoundError(
            f"{settings.model_folder}/{engine.swapped} after it was verified, before the engine "
            "had loaded it",
            "Find out who writes there; verify with `local-opus verify`, then start the server.",
        )
    if engine.failure is not None:
        raise LocalOpusError(
            f"{settings.model}: the engine failed: {engine.failure}",
            f"Check the weights in {settings.model_folder} with `local-opus verify`.",
        )
    return ExitCode.DONE


async def _announce(settings: Settings, engine: EngineClient) -> None:
    """Tell systemd how loading goes on, and when the model is there."""
    notify(f"STATUS=Loading {settings.model} on {settings.device}")
    waiting = asyncio.create_task(engine.wait_ready())
    while not waiting.done():
        notify(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1_000_000}")
        await asyncio.wait({waiting}, timeout=PUSH)
    with contextlib.suppress(EngineUnavailableError):  # told by _give_up
        ready = waiting.result()
        notify("READY=1", f"STATUS=Serving {settings.model} on {ready['device']}")


async def _stop(stop: asyncio.Event, server: uvicorn.Server, engine: EngineClient) -> None:
    """End politely: no new connections, a while for answers, then the engine."""
    await stop.wait()
    notify("STOPPING=1")
    server.should_exit = True
    await asyncio.sleep(GRACE)
    await engine.stop()


async def _give_up(stop: asyncio.Event, engine: EngineClient) -> None:
    await engine.wait_failed()
    stop.set()


async def _feed_watchdog() -> None:
    pause = watchdog_seconds()
    while pause is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(pause)
