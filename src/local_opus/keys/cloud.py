"""Keys of clouds. They are kept, for profiles that will ask one; nothing reads them yet."""

from __future__ import annotations

from local_opus import install
from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.keys import changing, store, words
from local_opus.locations import Locations
from local_opus.planner.keys import credential_id


def keep(host: Host, locations: Locations, cloud: str, key: str) -> store.Kept:
    """Keep the key of a cloud, also in the place of an older one. Raises LocalOpusError."""
    install.require_rights(host, locations.scope)
    with changing.begin(host, locations) as change:
        name = store.CLOUD + cloud
        change.prepare(name)
        return store.write(host, locations, name, key.encode())


def forget(host: Host, locations: Locations, cloud: str) -> None:
    """Remove the key of a cloud. Raises BadInputError where there is none."""
    install.require_rights(host, locations.scope)
    name = store.CLOUD + cloud
    if store.find(host, locations, name) is None:
        kept = kept_here(host, locations)
        raise (
            words.unknown(cloud, kept)
            if kept
            else BadInputError(
                f"{cloud}: no key of a cloud is kept here", "See `local-opus keys list`."
            )
        )
    with changing.begin(host, locations) as change:
        change.forget(credential_id(name))
        store.discard(host, locations, name)


def kept_here(host: Host, locations: Locations) -> list[str]:
    """Return the clouds whose keys are kept. Raises PermissionError."""
    found = store.names(host, locations)
    return [name.removeprefix(store.CLOUD) for name in found if name.startswith(store.CLOUD)]


def is_of_cloud(action_id: str) -> bool:
    """Whether an action, by its id, keeps the key of a cloud."""
    return action_id.startswith(credential_id(store.CLOUD))


def remove_all(host: Host, locations: Locations) -> None:
    """Remove the keys of all clouds."""
    for cloud in kept_here(host, locations):
        store.discard(host, locations, store.CLOUD + cloud)
