"""What the service runs: its config, the gate for its weights, and the way on where a config fails.

The server room itself knows neither the host nor where configs lie.
"""

from __future__ import annotations

import logging
import re
from functools import partial

from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError
from local_opus.gate import prove, prove_settings
from local_opus.host import Host
from local_opus.last_good import LastGood
from local_opus.server.listening import Door
from local_opus.server.main import log_to_stderr, run
from local_opus.server.settings import Settings
from local_opus.server.standing import Proven, Standing
from local_opus.server.starting import Starting
from local_opus.server_config import keys_path

log = logging.getLogger(__name__)

_VERIFYING = "Verifying the weights"


def serve(host: Host, config: str) -> int:
    """Serve what ``config`` says until the end; return the exit code.

    Where it says nonsense, or what can't be served, the last settings that were served are served
    on, and the problem is named wherever the server is asked. Raises LocalOpusError where there are
    none, ProblemFoundError for unproven weights, and PermissionError.
    """
    log_to_stderr("INFO")
    kept = LastGood(host, config)
    standing = Standing()
    # From the first reading on: what is asked while there is no server the next one does.
    with Door() as door, standing.signals.keep_hangups():
        try:
            with Starting(_VERIFYING) as starting:
                proven = prove(host, config, starting.progress)
        except BadInputError as error:
            proven = _instead(host, config, kept, standing, error, None)
        while True:
            standing.served = False
            keep = None if standing.config_problem is not None else partial(_keep, kept)
            try:
                then = run(proven, door, standing, keep=keep, reread=partial(prove, host, config))
            except ProblemFoundError:
                raise
            except LocalOpusError as error:
                if standing.config_problem is not None:
                    error.details = (*error.details, standing.config_problem)
                    raise
                if standing.served or standing.signals.ended:
                    raise
                proven = _instead(host, config, kept, standing, error, proven.settings)
                continue
            if not isinstance(then, Proven):
                return then
            proven = then


def _keep(kept: LastGood, settings: Settings) -> None:
    try:
        kept.write(settings)
    except OSError as error:  # served they are all the same
        log.warning("%s: can't be written: %s", kept.path, error.strerror or error)


def _keys_wanted(host: Host, config: str, failed: Settings | None) -> bool:
    """Return whether what can't be served wants keys, as far as that can be told.

    ``keys.json`` may be sound beside nonsense, or be the nonsense itself. Raises OSError where it
    is there and can't be read: that is no word that none are wanted.
    """
    if failed is not None:
        return failed.keys == "required"
    try:
        text = host.files.read_text(keys_path(config))
    except FileNotFoundError:
        return False
    return re.search(r'"required"\s*:\s*true', text) is not None


def _instead(
    host: Host,
    config: str,
    kept: LastGood,
    standing: Standing,
    error: LocalOpusError,
    failed: Settings | None,
) -> Proven:
    """Return the last good settings in place of those that ``error`` is about.

    Raises ``error`` where there are none, or they are the very ones that ``failed``.
    """
    try:
        settings = kept.read()
    except (BadInputError, PermissionError) as damaged:
        log.warning("the last good settings are not used: %s", damaged)
        raise error from damaged
    if settings is None or (failed is not None and settings == failed):
        raise error
    # Whoever asked for keys, in a file that is nonsense otherwise, must not get a server without.
    try:
        if settings.keys == "none" and _keys_wanted(host, config, failed):
            settings = settings.model_copy(update={"keys": "required"})
    except OSError as unread:
        raise error from unread
    try:
        with Starting(_VERIFYING) as starting:
            proven = prove_settings(host, settings, starting.progress)
    except LocalOpusError as unproven:
        if isinstance(unproven, ProblemFoundError):
            unproven.details = (*unproven.details, error.message)
            raise unproven from error
        raise error from unproven
    standing.config_problem = f"{error.message}; the last good settings are served"
    log.error("%s", "; ".join((error.message, *error.details, error.remedy)))
    log.warning("the settings that were last served are served on: %s", kept.path)
    return proven
