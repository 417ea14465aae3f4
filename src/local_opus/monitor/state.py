"""The state folder: ``state.json``, what an hour's looks left; ``metrics.prom``; ``recover``.

All are replaced as a whole, so a kill leaves the old or the new. A state that can't be read is put
aside and said; what it held is lost, which costs an hour's history and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.monitor.history import History, State, recent

NAME = "state.json"
METRICS = "metrics.prom"
#: There while a server is to be started anew: the recover unit's condition.
RECOVER = "recover"
DAMAGED = f"{NAME}.damaged"
_ROOM = "Make room there, or give this user the right to write there."
#: An hour of samples every 5 s takes about 150 KB a server.
_MOST_BYTES = 8 * 1024 * 1024
#: Begins a metrics file of ours; node_exporter passes over comments.
MARK = "# Written by local-opus monitor; it is replaced at every look.\n"


@dataclass(frozen=True)
class Loaded:
    """The histories by server; ``note`` says what was wrong with the file."""

    servers: dict[str, History]
    note: str | None = None


def load(host: Host, folder: str, uptime: float) -> Loaded:
    """Return the state of a folder, nothing where there is none; put a damaged one aside.

    Raises PermissionError where it is closed to this user.
    """
    path = f"{folder}/{NAME}"
    try:
        data = host.files.read_bytes(path, _MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"longer than {_MOST_BYTES} bytes")
        state = State.model_validate_json(data)
    except (FileNotFoundError, NotADirectoryError):
        return Loaded({})
    except PermissionError:
        raise
    except (ValidationError, ValueError, OSError) as error:
        return Loaded({}, f"{path}: {_why(error)}; {_put_aside(host, folder)}")
    return Loaded({name: current(one, uptime) for name, one in state.servers.items()})


def peek(host: Host, folder: str) -> State | None:
    """Return the state for those who only look; None: there is none, or it can't be read.

    Raises PermissionError where it is closed to this user.
    """
    try:
        return State.model_validate_json(host.files.read_bytes(f"{folder}/{NAME}", _MOST_BYTES))
    except PermissionError:
        raise
    except (OSError, ValueError):  # ValidationError is a ValueError
        return None


def current(history: History, uptime: float) -> History:
    """Return a history without what is older than an hour, or from before a boot."""
    return history.model_copy(update={"samples": recent(history.samples, uptime)})


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else "does not have the form in which it is kept"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _put_aside(host: Host, folder: str) -> str:
    try:
        host.files.rename(f"{folder}/{NAME}", f"{folder}/{DAMAGED}")
    except OSError as error:
        return f"it could not be put aside ({(error.strerror or str(error)).lower()})"
    return f"it was put aside as {DAMAGED}, and counting begins anew"


def save(host: Host, folder: str, servers: dict[str, History], metrics: str) -> str | None:
    """Write state and metrics; return what else should be known, None: nothing.

    Raises LocalOpusError where the state can't be kept: then nothing is counted.
    """
    state = State(written_at=host.now(), uptime=round(host.uptime(), 1), servers=servers)
    try:
        # Readable to others, as far as its folder is. Not synced: power loss costs an hour's looks.
        data = state.model_dump_json(exclude_defaults=True).encode()
        # exclude_defaults leaves the version out, which a later reader needs.
        data = b'{"schema_version":1,' + data[1:] + b"\n"
        host.files.write_atomic(f"{folder}/{NAME}", data, mode=0o644, durable=False)
    except OSError as error:
        raise LocalOpusError(
            f"{folder}/{NAME}: {(error.strerror or str(error)).lower()}",
            _ROOM,
        ) from error
    return _save_metrics(host, folder, metrics)


def _save_metrics(host: Host, folder: str, metrics: str) -> str | None:
    path = f"{folder}/{METRICS}"
    try:
        found = host.files.stat(path)
        if found is not None and not (found.kind == "file" and _is_ours(host, path)):
            return f"{path}: it is not the monitor's own file, and stays as it is"
        data = (MARK + metrics).encode()
        host.files.write_atomic(path, data, mode=0o644, durable=False)
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    return None


def _is_ours(host: Host, path: str) -> bool:
    return host.files.read_bytes(path, len(MARK)) in {MARK.encode(), b""}


def ask_recovery(host: Host, folder: str, reasons: str, invocation: str | None) -> None:
    """Leave the mark that the recover unit looks for, and holds against the monitor's invocation.

    ``invocation``: systemd's id of this run of the monitor; a look by hand has none, and ends no
    server. Raises LocalOpusError.
    """
    path = f"{folder}/{RECOVER}"
    text = f"InvocationID={invocation or 'none'}\n{reasons}\n"
    try:
        host.files.write_atomic(path, text.encode(), mode=0o644)
    except OSError as error:
        raise LocalOpusError(f"{path}: {(error.strerror or str(error)).lower()}", _ROOM) from error


def withdraw_recovery(host: Host, folder: str) -> None:
    """Remove that mark: each look decides anew. Raises LocalOpusError."""
    path = f"{folder}/{RECOVER}"
    try:
        host.files.discard(path)
    except OSError as error:
        raise LocalOpusError(
            f"{path}: {(error.strerror or str(error)).lower()}",
            "Give the monitor a folder that it may write; its unit's StateDirectory is one.",
        ) from error
