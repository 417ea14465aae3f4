"""What a server is given of the keys: by systemd as its credentials, else by who starts it."""

from __future__ import annotations

import re

from local_opus import resources, server_config
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.keys import store
from local_opus.locations import KEYS_DROP_IN, Locations, locate
from local_opus.render import render

TEMPLATE = "keys.conf.j2"
#: A line by which a unit is given the keys of clients, with a path (systemd.exec(5)).
_GIVES = re.compile(rf"^\s*LoadCredential(Encrypted)?\s*=\s*{store.API_KEYS}\b", re.MULTILINE)


def wanted(host: Host, locations: Locations) -> bool:
    """Return whether the server of an install wants keys. Raises BadInputError, PermissionError."""
    return wanted_by(host, locations) is not None


def wanted_by(host: Host, locations: Locations) -> str | None:
    """Return the file by which the server wants keys; None: it wants none. Raises as ``wanted``.

    The mark does it, and so does a drop-in without it: a server wants keys that it is given.
    """
    if server_config.keys_required(host.files.read_text, locations.keys_file):
        return locations.keys_file
    path = drop_in_path(locations)
    try:
        text = host.files.read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise
    except OSError as error:
        raise BadInputError(
            f"{path}: {(error.strerror or str(error)).lower()}",
            "Move it away, then run `local-opus keys require on` or `off`.",
        ) from error
    return path if _GIVES.search(text) else None


def drop_in_path(locations: Locations) -> str:
    """Return where the drop-in lies that gives the server its credential."""
    return f"{locations.units}/{locations.unit}.d/{KEYS_DROP_IN}"


def template() -> str:
    """Return the text of the drop-in's template."""
    return resources.read("templates", TEMPLATE)


def drop_in(kept: tuple[store.Kept, ...], text: str) -> str:
    """Return the drop-in that gives a unit these credentials."""
    credentials = [
        {
            "name": one.path.rpartition("/")[2].removesuffix(store.SEALED),
            "path": one.path,
            "sealed": one.sealed,
        }
        for one in kept
    ]
    return render(TEMPLATE, {TEMPLATE: text}, {"credentials": credentials})


def trial_lines(host: Host, trial: Locations) -> str:
    """Return what the unit of a trial needs besides: the keys of the install that it is of.

    Raises BadInputError where they are wanted and not there.
    """
    main = locate(trial.scope, host.environ)
    if not wanted(host, main):
        return ""
    store.require_there(host, main)
    kept = store.find(host, main, store.API_KEYS)
    return "\n" + drop_in((kept,), template()) if kept is not None else ""


def hand(host: Host, locations: Locations, group: int | None) -> str | None:
    """Put the digests where a server without systemd reads them; return that folder.

    None: it wants no keys. ``group`` may read it: the server runs as another user then. Raises
    LocalOpusError where they are wanted and can't be read.
    """
    main = locate(locations.scope, host.environ)
    if not wanted(host, main):
        return None
    try:
        store.require_there(host, main)
        data = store.read(host, main, store.API_KEYS)
    except PermissionError as error:
        raise LocalOpusError(
            f"{error.filename}: permission denied", "Start the server as who installed it."
        ) from error
    if data is None:
        raise BadInputError(
            f"{main.credentials}: the keys have just been removed", "Start the server again."
        )
    take_back(host, locations)
    folder = _folder(locations)
    shared = group is not None
    host.files.make_folder(folder, mode=0o750 if shared else store.FOLDER_MODE, gid=group)
    mode = 0o640 if shared else store.MODE
    host.files.write_atomic(f"{folder}/{store.API_KEYS}", data, mode=mode, gid=group)
    return folder


def take_back(host: Host, locations: Locations) -> None:
    """Remove what ``hand`` put there."""
    folder = _folder(locations)
    if host.files.stat(folder) is not None:
        host.files.remove_tree(folder)


def _folder(locations: Locations) -> str:
    return f"{locations.runtime}/credentials"
