"""Whether the server can read its config, and the config names what there is."""

from __future__ import annotations

from local_opus import fallback, node, node_units, server_config
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    advise,
    corrected,
    failed,
    passed,
    restored,
    warned,
)
from local_opus.checks.context import Context
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.locations import SOCKET_UNIT
from local_opus.node_settings import ClosedToOwnerError, MissingConfigError

#: Nobody but a measurement can write it anew.
_TUNED = "Correct the file, or remove it: the server then runs with the defaults."


def ask(context: Context) -> Answer:
    """Read it as the server does."""
    path = context.locations.server_config
    if context.host.files.stat(path) is None:
        context.require_server()
    try:
        where = context.read_settings()
    except MissingConfigError as error:
        return failed(error.message, restored(), details=_served_instead(context))
    except ClosedToOwnerError as error:
        return failed(error.message, advise(error.remedy))
    except BadInputError as error:
        details = (*error.details, *_served_instead(context))
        tuned = error.message.startswith(f"{context.locations.tuned}: ")
        fix = advise(_TUNED) if tuned else corrected()
        return failed(error.message, fix, details=details)
    except LocalOpusError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from error
        return failed(error.message, advise(error.remedy), details=error.details)
    if problem := _problem(context, where.host, where.port):
        return failed(problem, advise("Correct what it names, then start the server anew."))
    if (moved := _elsewhere(context)) is not None:
        return moved
    return passed(
        f"{where.model} on {where.device}, {where.context_length} tokens,"
        f" http://{where.host}:{where.port}"
    )


def _problem(context: Context, address: str, port: int) -> str | None:
    """Return why the running server does not serve what its config says; None: it does."""
    host = context.host
    if node.serving(host, context.locations) is None:
        return None
    try:
        ready = node.ask_ready(host, address, port)
    except LocalOpusError:  # it wants a key: the server's own check says so
        return None
    found = None if ready is None else ready.get("config_problem")
    return None if found is None else str(found)


def _served_instead(context: Context) -> tuple[str, ...]:
    """Say that the last good settings are served meanwhile, where they are."""
    addresses = fallback.addresses(context.host, context.locations)
    served = any(_problem(context, address, port) for address, port in addresses)
    return ("the server runs with the last good settings",) if served else ()


def _elsewhere(context: Context) -> Answer | None:
    """Warn where the file says another address than the one that systemd listens on."""
    host, path = context.host, context.locations.server_config
    where = node_units.socket_address(host, context.locations)
    if where is None:
        return None
    says = server_config.listens(host.files.read_text, path)
    if says == where:
        return None
    return warned(
        f"{path}: host and port say {says[0]}:{says[1]}, and have no effect: systemd listens for"
        f" the server, on {where[0]}:{where[1]} ({SOCKET_UNIT})",
        advise(
            f"Put {where[0]} and {where[1]} back, and choose another port with an install.",
            f"local-opus install --local-opus --port {says[1]}",
        ),
    )


CHECK = Check("config", "server config", Group.SERVER, ask)
