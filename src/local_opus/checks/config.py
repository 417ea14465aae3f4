"""Whether the server can read its config, and the config names what there is."""

from __future__ import annotations

from local_opus.checks.base import Answer, Check, Group, advise, failed, passed
from local_opus.checks.context import Context
from local_opus.errors import BadInputError, LocalOpusError


def ask(context: Context) -> Answer:
    """Read it as the server does."""
    path = context.locations.server_config
    if context.host.files.stat(path) is None:
        context.require_server()
    try:
        where = context.read_settings()
    except BadInputError as error:
        return failed(
            error.message,
            advise(f"{error.remedy} Removed, it is written anew by:", "local-opus doctor --fix"),
            details=error.details,
        )
    except LocalOpusError as error:
        if isinstance(error.__cause__, PermissionError):
            raise error.__cause__ from error
        return failed(error.message, advise(error.remedy), details=error.details)
    return passed(
        f"{where.model} on {where.device}, {where.context_length} tokens,"
        f" http://{where.host}:{where.port}"
    )


CHECK = Check("config", "server config", Group.SERVER, ask)
