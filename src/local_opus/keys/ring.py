"""The keys of this node's clients: added, removed, and wanted or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_opus import install, receipts
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.keys import changing, giving, node_key, store, words
from local_opus.keys.changing import Change
from local_opus.locations import Locations
from local_opus.values.keys import MOST_KEYS, OWN, KeyEntry, Keyring


@dataclass(frozen=True)
class Changed:
    """What a change came to; ``keys`` by name are those that were added, to be shown once.

    A server that runs takes it when it is started anew: ``changing.restart``. That comes after the
    keys were shown: nobody could tell them any more where it fails.
    """

    keys: dict[str, str]
    kept: store.Kept
    required: bool = True
    #: Whether a key was wanted before.
    was_required: bool = True


@dataclass(frozen=True)
class Shown:
    """What is kept, without any key."""

    required: bool
    clients: tuple[KeyEntry, ...]
    #: Whether systemd encrypts them; None: there are none.
    sealed: bool | None
    #: The clouds whose keys are kept, and whether encrypted.
    clouds: dict[str, bool]


def look(host: Host, locations: Locations) -> Shown:
    """Return what is kept. Raises LocalOpusError where it is damaged, or closed to this user."""
    try:
        ring = store.keyring(host, locations)
        kept = store.find(host, locations, store.API_KEYS)
        found = {name: store.find(host, locations, name) for name in store.names(host, locations)}
        required = giving.wanted(host, locations)
    except PermissionError as error:
        raise LocalOpusError(
            f"{locations.credentials}: closed to this user", "Run it as root, e.g. with sudo."
        ) from error
    clouds = {
        name.removeprefix(store.CLOUD): one.sealed
        for name, one in found.items()
        if one is not None and name.startswith(store.CLOUD)
    }
    clients = () if ring is None else ring.clients
    return Shown(required, clients, None if kept is None else kept.sealed, clouds)


def add(
    host: Host, locations: Locations, names: Sequence[str], given: str | None = None
) -> Changed:
    """Add a key for each name, made here unless it is ``given``; from now on one is wanted.

    Raises BadInputError for a name that is none or is taken; LocalOpusError where what is kept is
    damaged, or was edited.
    """
    _require_distinct(names)
    install.require_rights(host, locations.scope)
    keys = {words.checked_name(name): given or words.make() for name in names}
    with changing.begin(host, locations) as change:
        ring = store.keyring(host, locations) or Keyring()
        for name, key in keys.items():
            _require_new(ring, name, words.digest(key))
        if len(ring.keys) + len(keys) >= MOST_KEYS:
            raise BadInputError(
                f"{locations.credentials}: {MOST_KEYS} keys are the most that are kept",
                "Remove some: `local-opus keys remove`.",
            )
        now = host.now()
        added = [
            KeyEntry(name=name, sha256=words.digest(key), added=now) for name, key in keys.items()
        ]
        change.require_unedited()
        was_required = giving.wanted(host, locations)
        kept = _keep(change, ring, (*ring.clients, *added))
        try:
            change.want()
        except BaseException:  # nobody is shown the new ones any more
            _keep(change, ring, ring.clients)
            raise
    return Changed(keys, kept, was_required=was_required)


def take_back(host: Host, locations: Locations, added: Changed) -> None:
    """Remove keys that nobody was shown; a key is wanted as before. Raises as ``remove``."""
    remove(host, locations, tuple(added.keys))
    if not added.was_required:  # else the next start would shut everybody out
        require_no_more(host, locations)


def remove(host: Host, locations: Locations, names: Sequence[str]) -> Changed:
    """Remove the keys of these names, all or none; without any left a key is still wanted.

    Raises BadInputError for a name that has no key, else as ``add``.
    """
    _require_distinct(names)
    install.require_rights(host, locations.scope)
    with changing.begin(host, locations) as change:
        ring = store.keyring(host, locations) or Keyring()
        for name in names:
            if ring.get(words.checked_name(name)) is None:
                raise words.unknown(name, [one.name for one in ring.clients])
        required = giving.wanted(host, locations)
        if required:
            change.require_unedited()
        kept = _keep(change, ring, tuple(one for one in ring.clients if one.name not in names))
        if required:
            change.want()  # the file may be another one now, encrypted or not
    return Changed({}, kept, required)


def require(host: Host, locations: Locations) -> Changed:
    """Want a key of every request, and make again what is missing for it. Raises as ``add``.

    Also a node's own key that is damaged: no client has that one.
    """
    install.require_rights(host, locations.scope)
    with changing.begin(host, locations) as change:
        change.require_unedited()
        ring = store.keyring(host, locations) or Keyring()
        own = node_key.kept_or_new(host, locations)
        kept = _keep(change, ring, ring.clients, own)
        change.want()
    return Changed({}, kept)


def require_no_more(host: Host, locations: Locations) -> bool:
    """Want no key any more; those that are kept stay. Return whether that is a change.

    Raises LocalOpusError where a file that was edited, or that is not of this install, wants them.
    """
    install.require_rights(host, locations.scope)
    wanted = giving.wanted(host, locations)
    if not wanted and not receipts.is_there(host, locations.receipt):
        return False
    with changing.begin(host, locations) as change:
        change.require_unedited()
        change.want_no_more()
    if (path := giving.wanted_by(host, locations)) is not None:
        raise LocalOpusError(
            f"{path}: still wants keys, and is not of this install",
            "Remove that file, run `systemctl daemon-reload`, and start the server anew.",
        )
    return wanted


def _require_distinct(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"{twice[:64]}: named twice", "Name each key once.")


def _require_new(ring: Keyring, name: str, digest: str) -> None:
    if ring.get(name) is not None:
        raise BadInputError(
            f"{name}: there is a key of that name",
            f"Choose another name, or first `local-opus keys remove {name}`.",
        )
    same = next((one for one in ring.keys if one.sha256 == digest), None)
    if same is not None:
        raise BadInputError(
            f"{name}: that key is the one of {same.name}", "Let each client have a key of its own."
        )


def _keep(
    change: Change, former: Keyring, clients: tuple[KeyEntry, ...], own: str | None = None
) -> store.Kept:
    """Write the keys, and the node's own, which is made with the first of them."""
    host, locations = change.host, change.locations
    if own is None:
        own = node_key.kept(host, locations) or words.make()
    change.prepare(store.API_KEYS, store.NODE_KEY)
    store.write(host, locations, store.NODE_KEY, own.encode())
    entry = former.get(OWN)
    if entry is None or entry.sha256 != words.digest(own):
        entry = KeyEntry(name=OWN, sha256=words.digest(own), added=host.now())
    ring = Keyring(keys=(entry, *clients))
    data = ring.model_dump_json(indent=1).encode() + b"\n"
    return store.write(host, locations, store.API_KEYS, data)
