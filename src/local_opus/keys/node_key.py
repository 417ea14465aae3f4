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
    """Return the node's own key; None: there is none, or this user may not read it."""
    folder = host.environ.get(CREDENTIALS, "")
    try:
        if folder and host.files.stat(f"{folder}/{store.NODE_KEY}") is not None:
            return host.files.read_text(f"{folder}/{store.NODE_KEY}", words.LONGEST).strip() or None
        data = store.read(host, locations, store.NODE_KEY)
    except PermissionError:
        return None
    return None if data is None else words.checked(data.decode(errors="replace"), store.NODE_KEY)


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
