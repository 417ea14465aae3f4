"""The key with which the node's own tools ask its server.

root (or the user, of an install of his own) reads it where it is kept, a unit of the node as its
credential. Anybody else says his own in the environment. It is told to nobody who merely listens on
the server's port.
"""

from __future__ import annotations

from functools import partial

from local_opus import listening
from local_opus.errors import BadInputError, KeyNeededError, LocalOpusError
from local_opus.host import Host
from local_opus.keys import store, words
from local_opus.locations import Locations
from local_opus.values.keys import OWN

#: A client's key, for users who may not read the node's.
VARIABLE = "LOCAL_OPUS_API_KEY"
#: Where systemd puts the credentials of a unit (systemd.exec(5)).
CREDENTIALS = "CREDENTIALS_DIRECTORY"
#: Users that run no person's programs: systemd's dynamic ones (https://systemd.io/UIDS-GIDS), and
#: nobody, as who a server without systemd runs.
_DYNAMIC = range(61184, 65520)
_NOBODY = 65534
#: Bytes that are read of the credential of a unit: one more than a key and the end of its line.
_LIMIT = words.LONGEST + 3


def use(host: Host, locations: Locations) -> None:
    """Have the servers of this install asked with its key, where they want one."""
    host.key_for = partial(find, host, locations)


def find(host: Host, locations: Locations, _address: str, port: int) -> str | None:
    """Return the key for the server at this address; None: there is none for this user.

    Raises BadInputError for one in the environment that can't be one, KeyNeededError where the
    node's own can't be read.
    """
    if given := host.environ.get(VARIABLE, ""):
        try:
            return words.checked(given, VARIABLE, shortest=1)
        except BadInputError as error:
            raise BadInputError(error.message, f"Correct or unset {VARIABLE}.") from error
    if not _is_ours(host, port):
        return None
    try:
        return read(host, locations)
    except LocalOpusError as error:
        raise KeyNeededError(error.message, error.remedy) from error


def read(host: Host, locations: Locations) -> str | None:
    """Return the node's own key; None: there is none, or this user may not read it.

    Raises LocalOpusError that names its file where it is damaged.
    """
    folder = host.environ.get(CREDENTIALS, "")
    try:
        given = f"{folder}/{store.NODE_KEY}"
        if folder and host.files.stat(given) is not None:
            return _checked(host.files.read_bytes(given, _LIMIT), given)
        return kept(host, locations)
    except PermissionError:
        return None


def kept(host: Host, locations: Locations) -> str | None:
    """Return the node's own key from where it is kept; None: there is none.

    Raises LocalOpusError that names its file where it is damaged, and PermissionError.
    """
    data = store.read(host, locations, store.NODE_KEY)
    found = store.find(host, locations, store.NODE_KEY)
    if data is None or found is None:
        return None
    return _checked(data, found.path)


def kept_or_new(host: Host, locations: Locations) -> str:
    """Return the node's own key; a new one where there is none, or one that is damaged.

    Raises LocalOpusError where a folder took its place, and PermissionError.
    """
    try:
        return kept(host, locations) or words.make()
    except LocalOpusError:
        if store.is_folder(host, locations, store.NODE_KEY):
            raise
        return words.make()


def _checked(data: bytes, path: str) -> str:
    try:
        return words.checked(data.decode(errors="replace"), path)
    except BadInputError as error:
        raise BadInputError(error.message, store.remedy(path, store.NODE_KEY)) from error


def _is_ours(host: Host, port: int) -> bool:
    """Tell whether all that listens on a port belongs to root, to services, or to this user.

    A program that took the port while the server was down could else ask for the key, and have it.
    """
    owners = listening.owners(host, port)
    trusted = {0, _NOBODY, host.euid}
    return bool(owners) and all(one in trusted or one in _DYNAMIC for one in owners)


def problem(host: Host, locations: Locations) -> str | None:
    """Say why the node's tools would be refused; None: their key is right."""
    try:
        key, ring = read(host, locations), store.keyring(host, locations)
    except LocalOpusError as error:
        return error.message
    entry = None if ring is None else ring.get(OWN)
    if key is None:
        return f"{locations.credentials}/{store.NODE_KEY}: missing"
    if entry is None or entry.sha256 != words.digest(key):
        return f"{locations.credentials}/{store.NODE_KEY}: not among the keys that the server takes"
    return None
