"""What unfinished downloads and conversions left: ``<models>/<model>/.partial/``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local_opus.host import locks, partials
from local_opus.weights.store import PARTIAL, list_models

if TYPE_CHECKING:
    from local_opus.host import Host

LOCK = ".lock"
#: Begins what a conversion adds to the name of its variant.
_MAKING = ".partial-"


@dataclass(frozen=True)
class StoredPartial:
    """One of them.

    ``bytes`` are those that have come; ``touched_ns`` is when a file of it last changed; ``lock``
    is what a run that works on it holds. ``held``: whether one does; None: this user can't tell.
    """

    model: str
    name: str
    path: str
    lock: str
    bytes: int
    touched_ns: int
    held: bool | None


def list_partials(host: Host, models: str) -> tuple[StoredPartial, ...]:
    """Return every partial in the store, by model and name."""
    return tuple(
        _look(host, model, folder, name)
        for model in list_models(host, models)
        for folder in [f"{models}/{model}/{PARTIAL}"]
        for name in _names(host, folder)
        if not name.endswith(LOCK)
    )


def stale_locks(host: Host, model_folder: str) -> Sequence[str]:
    """Return the locks that killed runs left of a model with nothing beside them."""
    folder = f"{model_folder}/{PARTIAL}"
    names = _names(host, folder)
    used = {_lock(folder, name) for name in names if not name.endswith(LOCK)}
    left = [f"{folder}/{name}" for name in names if name.endswith(LOCK)]
    return [path for path in left if path not in used]


def _names(host: Host, folder: str) -> list[str]:
    stat = host.files.stat(folder)
    return host.files.list(folder) if stat is not None and stat.kind == "folder" else []


def _lock(folder: str, name: str) -> str:
    """Return the lock of what a fetch or a conversion called ``name``."""
    return f"{folder}/{name.partition(_MAKING)[0]}{LOCK}"


def _look(host: Host, model: str, folder: str, name: str) -> StoredPartial:
    path, lock = f"{folder}/{name}", _lock(folder, name)
    size, touched = _measure(host, path)
    return StoredPartial(model, name, path, lock, size, touched, _is_held(host, lock))


def _measure(host: Host, path: str) -> tuple[int, int]:
    """Return the bytes that have come below a path, and the latest time of a change.

    A file on its way is as long as the whole from its beginning: its notes tell what is there.
    """
    stat = host.files.stat(path)
    if stat is None:  # finished since it was listed
        return 0, 0
    if stat.kind != "folder":
        return stat.size, stat.mtime_ns
    size, touched = 0, stat.mtime_ns
    with suppress(PermissionError):  # closed to this user: what he can see counts
        found = dict(host.files.walk(path))
        for name, one in found.items():
            noted = f"{name}{partials.SUFFIX}" in found
            size += partials.have(host.files, f"{path}/{name}") if noted else one.size
            touched = max(touched, one.mtime_ns)
    return size, touched


def _is_held(host: Host, lock: str) -> bool | None:
    try:
        return locks.is_held(host.files, lock)
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
