"""``python -m local_opus.server --config FILE``: the process that serves."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from local_opus.errors import ExitCode, LocalOpusError
from local_opus.server.app import create_engine
from local_opus.server.connection import raise_limit
from local_opus.server.life import Life
from local_opus.server.listening import Door
from local_opus.server.rereading import Reread
from local_opus.server.settings import Settings, load
from local_opus.server.standing import Proven, Standing

log = logging.getLogger(__name__)

#: Connections beside those that wait for answers: health checks, idle clients.
SPARE = 512


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server that the command line names; return its exit code."""
    parser = argparse.ArgumentParser(prog="local_opus.server", description=__doc__)
    parser.add_argument("--config", required=True, help="the server's settings, a JSON file")
    path = parser.parse_args(arguments).config
    log_to_stderr("INFO")
    try:
        with Door() as door:
            then = run(Proven(load(path)), door, Standing())
    except LocalOpusError as error:
        log.error("; ".join((error.message, *error.details, error.remedy)))  # noqa: TRY400 - for users
        return error.exit_code
    return then if isinstance(then, int) else ExitCode.DONE


def run(
    proven: Proven,
    door: Door,
    standing: Standing,
    *,
    keep: Callable[[Settings], None] | None = None,
    reread: Reread | None = None,
) -> int | Proven:
    """Serve until SIGTERM or SIGINT and return the exit code, or until SIGHUP found other settings.

    Those are returned then, to be served next. ``keep`` is given the settings once the model has
    answered. Raises BadInputError when the port is taken, MachineCannotError when the address can't
    be had, ProblemFoundError for changed weights, LocalOpusError when the model can't be loaded or
    the engine crashes again and again.
    """
    settings = proven.settings
    log_to_stderr(settings.log_level.upper())
    raise_limit(settings.max_concurrent + settings.max_queue + SPARE)
    with door.listener(settings.host, settings.port) as listener:
        engine = create_engine(settings, proven.changed)
        return Life(proven, engine, standing, keep=keep, reread=reread).run(listener)


def log_to_stderr(level: str) -> None:
    """Log what is at least of ``level`` to standard error."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level, format=form, stream=sys.stderr, force=True)
