"""Whether the server can read its config, and the config names what there is."""

from __future__ import annotations

from local_opus.checks.base import Answer, Check, Group, advise, failed, passed
from local_opus.checks.context import Context
from local_opus.errors import BadInputError, LocalOpusError

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
    return passed(
        f"{where.model} on {where.device}, {where.context_length} tokens,"
        f" http://{where.host}:{where.port}"
    )


CHECK = Check("config", "server config", Group.SERVER, ask)
