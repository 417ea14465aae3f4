"""What the installed server serves where its config says nonsense, as seen from outside of it."""

from __future__ import annotations

from collections.abc import Iterator

from local_opus import node, node_settings, node_units
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.last_good import LastGood
from local_opus.locations import Locations
from local_opus.server.settings import Settings


def settings(host: Host, locations: Locations) -> Settings:
    """Return the settings of the installed server; of a config that is nonsense the last good ones.

    Raises LocalOpusError as ``node_settings.settings`` where none were kept, this user can't read
    them, or server.json is gone: one command restores that.
    """
    try:
        return node_settings.settings(host, locations)
    except node_settings.MissingConfigError:
        raise
    except BadInputError:
        kept = last_good(host, locations)
        if kept is None:
            raise
        where = node_units.socket_address(host, locations)
        if where is None:
            return kept
        return kept.model_copy(update={"host": where[0], "port": where[1]})


def last_good(host: Host, locations: Locations) -> Settings | None:
    """Return what the server keeps; None where there is nothing that this user can read."""
    for folder in node.server_states(locations):
        try:
            found = LastGood(host, locations.server_config, folder).read()
        except (
            LocalOpusError,
            PermissionError,
        ):  # damaged or closed: the server tells its own user
            continue
        if found is not None:
            return found
    return None


def addresses(host: Host, locations: Locations) -> Iterator[tuple[str, int]]:
    """Give where a server may answer whose config can't be read."""
    where = node_units.socket_address(host, locations)
    if where is not None:
        yield where
    kept = last_good(host, locations)
    if kept is not None:
        yield kept.host, kept.port
    yield node_settings.announced(host)
