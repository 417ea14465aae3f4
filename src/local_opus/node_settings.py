"""What the node's server is set to, and where it answers."""

from __future__ import annotations

import shlex
from importlib import metadata

from local_opus import node_units, sealed, server_config, whereabouts
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.server.settings import Settings
from local_opus.server_config import WeightsFacts
from local_opus.tuning import tuned
from local_opus.weights import manifest

#: Set by the installed command: where the server answers, for who may not read its config.
SERVER_VARIABLE = "LOCAL_OPUS_SERVER"
DEFAULT_SERVER = "127.0.0.1:8000"


class MissingConfigError(BadInputError):
    """server.json is gone, and the receipt says how to write it anew."""


class ClosedToOwnerError(LocalOpusError):
    """A config can't be read by the very user whose it is: nobody meant it to be so."""


def read_settings(host: Host, path: str) -> Settings:
    """Return the settings of the server config at ``path``.

    Raises BadInputError that names the file and field, and PermissionError.
    """
    return server_config.load(
        host.files.read_text, path, lambda folder: _weights(host, folder), runtime_version
    )


def _weights(host: Host, folder: str) -> WeightsFacts:
    found, digest = manifest.read_with_digest(host, folder)
    return WeightsFacts(digest, found.context_length)


def runtime_version() -> str | None:
    """Return the version of the openvino package of this environment; None: there is none."""
    try:
        return metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return None


def tuned_state(host: Host, locations: Locations) -> server_config.TunedState | None:
    """Return what was tuned and whether the server uses it; None: nothing was tuned.

    Raises BadInputError and PermissionError as ``read_settings``.
    """
    return server_config.read_tuned(
        host.files.read_text,
        locations.server_config,
        lambda folder: _weights(host, folder),
        runtime_version,
    )


def tuning(host: Host, locations: Locations) -> str | None:
    """Say in one line what the server is tuned to, or why what was tuned is not used.

    None: nothing was tuned. Raises as ``tuned_state``.
    """
    state = tuned_state(host, locations)
    if state is None:
        return None
    if state.unused is not None:
        return f"not used: {state.unused}; run `local-opus tune`"
    edited = " (edited)" if sealed.is_edited(state.tuned) else ""
    return f"{tuned.in_words(state.tuned)}{edited}"


def settings(host: Host, locations: Locations) -> Settings:
    """Return the installed server's settings. Raises LocalOpusError where there are none.

    Address and port are those that systemd listens on, where it does that for the server.
    """
    path = locations.server_config
    try:
        if host.files.stat(path) is None:
            whereabouts.require(host, locations)
            if _was_installed(host, locations):
                raise MissingConfigError(
                    f"{path}: missing", "Run `local-opus doctor --fix`: that restores it."
                )
            raise LocalOpusError(
                f"{path}: there is no server installed here",
                "Run `local-opus install --local-opus` first.",
            )
        found = read_settings(host, path)
        where = node_units.socket_address(host, locations)
        if where is None:
            return found
        return found.model_copy(update={"host": where[0], "port": where[1]})
    except PermissionError as error:
        closed = error.filename or path
        if (command := _opening(host, closed)) is not None:
            raise ClosedToOwnerError(
                f"{closed}: permission denied, and it is this user's own",
                f"Run `{command}`, or `local-opus doctor --fix`.",
            ) from error
        raise LocalOpusError(
            f"{path}: permission denied", "Run this as root, or as a member of its group."
        ) from error


def _was_installed(host: Host, locations: Locations) -> bool:
    """Whether the receipt tells of a finished install with a server's config; as far as it says."""
    try:
        history = Receipt(host, locations.receipt).history
    except (LocalOpusError, OSError):  # damaged or closed: its own check tells
        return False
    entry = history.get("config:server")
    return history.finished and entry is not None and entry.active


def _opening(host: Host, path: str) -> str | None:
    """Return the command that opens a file to its owner, who calls; None: that is not what lacks.

    The folder that it lies in may be what is closed.
    """
    for one, needed, mode in ((path, 0o400, "600"), (path.rpartition("/")[0], 0o500, "700")):
        try:
            found = host.files.stat(one)
        except PermissionError:
            continue
        if found is not None and found.uid == host.euid and found.mode & needed != needed:
            return f"chmod {mode} {shlex.quote(one)}"
    return None


def address(host: Host, locations: Locations) -> tuple[str, int]:
    """Return where the server answers, also to users who may not read its config.

    Raises LocalOpusError where none is installed.
    """
    try:
        where = settings(host, locations)
    except LocalOpusError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        return node_units.socket_address(host, locations) or announced(host)
    return where.host, where.port


def listens(host: Host, locations: Locations) -> tuple[str, int]:
    """Return where the server listens, whatever its model and weights are like.

    Raises as ``server_config.listens`` does.
    """
    where = node_units.socket_address(host, locations)
    return where or server_config.listens(host.files.read_text, locations.server_config)


def announced(host: Host) -> tuple[str, int]:
    """Return the address and port that the installed command announces. Raises BadInputError."""
    given = host.environ.get(SERVER_VARIABLE, DEFAULT_SERVER)
    address, _, port = given.rpartition(":")
    if not address or not port.isdecimal():
        raise BadInputError(
            f"{SERVER_VARIABLE}={given}: not an address and a port",
            f"Set it like {DEFAULT_SERVER}.",
        )
    return address, int(port)
