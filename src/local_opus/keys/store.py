"""The folder of credentials: a file each, root's alone (or the user's), encrypted where it can be.

``NAME.cred`` is encrypted by systemd, ``NAME`` is not; there is one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.keys import sealing
from local_opus.locations import Locations
from local_opus.values.keys import LIMIT, Keyring, parse_keyring

#: The names of the credentials; those of clouds begin with CLOUD.
API_KEYS = "api-keys"
NODE_KEY = "node-key"
CLOUD = "cloud-"
SEALED = ".cred"
MODE = 0o600
FOLDER_MODE = 0o700
#: Bytes of an encrypted credential at most: Base64 of the largest, and of what systemd adds.
_SEALED_LIMIT = 2 * LIMIT


@dataclass(frozen=True)
class Kept:
    """Where a credential lies; ``why_plain``: why it was not encrypted when it was written."""

    path: str
    sealed: bool
    why_plain: str | None = None


def find(host: Host, locations: Locations, name: str) -> Kept | None:
    """Return where a credential lies; None: it is not kept. Raises PermissionError."""
    path = f"{locations.credentials}/{name}"
    for kept in (Kept(path + SEALED, sealed=True), Kept(path, sealed=False)):
        if host.files.stat(kept.path) is not None:
            return kept
    return None


def names(host: Host, locations: Locations) -> list[str]:
    """Return the names of all that is kept. Raises PermissionError."""
    try:
        found = host.files.list(locations.credentials)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted({name.removesuffix(SEALED) for name in found if not name.startswith(".")})


def read(host: Host, locations: Locations, name: str) -> bytes | None:
    """Return a credential; None: it is not kept.

    Raises LocalOpusError that names its file where it does not open, and PermissionError.
    """
    kept = find(host, locations, name)
    if kept is None:
        return None
    try:
        data = host.files.read_bytes(kept.path, _SEALED_LIMIT + 1)
    except PermissionError:
        raise
    except OSError as error:
        if is_folder(host, locations, name):
            raise LocalOpusError(
                f"{kept.path}: a folder took its place",
                f"Move that folder away. {remedy(kept.path, name)}",
            ) from error
        reason = (error.strerror or str(error)).lower()
        raise LocalOpusError(f"{kept.path}: {reason}", remedy(kept.path, name)) from error
    if not kept.sealed:
        return data
    try:
        return sealing.unseal(host, locations.scope, name, data)
    except LocalOpusError as error:
        raise LocalOpusError(
            f"{kept.path}: does not open: {error.message}", remedy(kept.path, name)
        ) from error


def is_folder(host: Host, locations: Locations, name: str) -> bool:
    """Tell whether a folder took the place of a credential: no file can be renamed over it."""
    kept = find(host, locations, name)
    found = None if kept is None else host.files.stat(kept.path)
    return found is not None and found.kind == "folder"


def remedy(path: str, name: str) -> str:
    """Say how a damaged credential becomes whole: nobody has typed the node's own key."""
    if name == NODE_KEY:
        return "Run `local-opus keys require on`, which makes the node's key anew."
    if name.startswith(CLOUD):
        return f"Give that key again: `local-opus keys set-cloud {name.removeprefix(CLOUD)}`."
    return f"Restore {path} from a backup of this machine, or remove it and add the keys anew."


def write(host: Host, locations: Locations, name: str, data: bytes) -> Kept:
    """Keep a credential, encrypted where systemd can; return where. The folder must be there.

    There is no moment without it: the one that was there goes when the new one is on the disk.
    """
    path = f"{locations.credentials}/{name}"
    why = sealing.problem(host, locations.scope)
    kept, content, other = Kept(path, sealed=False), data, path + SEALED
    if why is None:
        try:
            content = sealing.seal(host, locations.scope, name, data)
            kept, other = Kept(path + SEALED, sealed=True), path
        except LocalOpusError as error:
            why = error.message
    host.files.write_atomic(kept.path, content, mode=MODE)
    host.files.discard(other)
    return Kept(kept.path, kept.sealed, why)


def discard(host: Host, locations: Locations, name: str) -> bool:
    """Remove a credential; return whether it was there."""
    there = find(host, locations, name) is not None
    if host.files.stat(locations.credentials) is not None:
        for path in paths(locations.credentials, name):
            host.files.discard(path)
    return there


def paths(folder: str, name: str) -> tuple[str, str]:
    """Return the two files that a credential may be."""
    return f"{folder}/{name}", f"{folder}/{name}{SEALED}"


def keyring(host: Host, locations: Locations) -> Keyring | None:
    """Return the keys of clients; None: there are none yet.

    Raises LocalOpusError that names the file where it is damaged, and PermissionError.
    """
    data = read(host, locations, API_KEYS)
    if data is None:
        return None
    kept = find(host, locations, API_KEYS)
    return parse_keyring(data, kept.path if kept else API_KEYS)


def require_there(host: Host, locations: Locations) -> None:
    """Raise BadInputError where there is no credential of clients' keys, which a server wants."""
    if find(host, locations, API_KEYS) is None:
        raise BadInputError(
            f"{locations.credentials}/{API_KEYS}: the server wants keys "
            f"({locations.keys_file}), and they are not there",
            "Run `local-opus keys require on`: it makes what is missing.",
        )
