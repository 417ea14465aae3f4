"""Whether the server can read its config, and the config names what there is."""

from __future__ import annotations

from local_opus import node_units, server_config
from local_opus.checks.base import Answer, Check, Group, advise, failed, passed, warned
from local_opus.checks.context import Context
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.locations import SOCKET_UNIT

_REMEDY = "Correct the file, or remove it. Once it is gone, it is written anew by:"
#: Nobody but a measurement can write it anew.
_TUNED = "Correct the file, or remove it: the server then runs with the defaults."


def ask(context: Context) -> Answer:
    """Read it as the server does."""
    path = context.locations.server_config
    if context.host.files.stat(path) is None:
        context.require_server()
    try:
        where = context.read_settings()
    except BadInputError as error:
        tuned = error.message.startswith(f"{context.locations.tuned}: ")
        fix = advise(_TUNED) if tuned else advise(_REMEDY, "local-opus doctor --fix")
        return failed(error.message, fix, details=error.details)
    except LocalOpusError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from error
        return failed(error.message, advise(error.remedy), details=error.details)
    if (moved := _elsewhere(context)) is not None:
        return moved
    return passed(
        f"{where.model} on {where.device}, {where.context_length} tokens,"
        f" http://{where.host}:{where.port}"
    )


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
