"""What the node's server is set to, and where it answers."""

from __future__ import annotations

from importlib import metadata

from local_opus import node_units, sealed, server_config, whereabouts
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.server.settings import Settings
from local_opus.server_config import WeightsFacts
from local_opus.tuning import tuned
from local_opus.weights import manifest

#: Set by the installed command: where the server answers, for who may not read its config.
SERVER_VARIABLE = "LOCAL_OPUS_SERVER"
DEFAULT_SERVER = "127.0.0.1:8000"


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
        raise LocalOpusError(
            f"{path}: permission denied", "Run this as root, or as a member of its group."
        ) from error


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
