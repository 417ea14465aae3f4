"""What unfinished downloads and conversions left: ``<models>/<model>/.partial/``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local_opus.host import locks
from local_opus.weights.store import PARTIAL

if TYPE_CHECKING:
    from local_opus.host import Host


@dataclass(frozen=True)
class Partial:
    """One of them. ``bytes`` are those of its files; ``touched_ns`` is when the last one changed.

    ``held``: whether a live process has a lock in its model's folder of partials; None: this user
    can't tell.
    """

    model: str
    name: str
    path: str
    bytes: int
    touched_ns: int
    held: bool | None


def list_partials(host: Host, models: str) -> tuple[Partial, ...]:
    """Return every partial in the store, by model and name."""
    found: list[Partial] = []
    for model in _names(host, models):
        folder = f"{models}/{model}/{PARTIAL}"
        names = _names(host, folder)
        held = is_held(host, folder) if names else False
        for name in names:
            size, touched = _measure(host, f"{folder}/{name}")
            found.append(Partial(model, name, f"{folder}/{name}", size, touched, held))
    return tuple(found)


def _names(host: Host, folder: str) -> list[str]:
    stat = host.files.stat(folder)
    return host.files.list(folder) if stat is not None and stat.kind == "folder" else []


def _measure(host: Host, path: str) -> tuple[int, int]:
    """Return the bytes of a file or of all below a folder, and the latest time of a change."""
    stat = host.files.stat(path)
    if stat is None:  # finished since it was listed
        return 0, 0
    if stat.kind != "folder":
        return stat.size, stat.mtime_ns
    size, touched = 0, stat.mtime_ns
    with suppress(PermissionError):  # closed to this user: what he can see counts
        for _, one in host.files.walk(path):
            size += one.size
            touched = max(touched, one.mtime_ns)
    return size, touched


def is_held(host: Host, folder: str) -> bool | None:
    """Whether a live process holds a lock on a file below ``folder``; None: can't be told."""
    try:
        for name, stat in host.files.walk(folder):
            if stat.kind != "file":
                continue
            with suppress(FileNotFoundError):  # finished since it was listed
                if locks.is_held(host.files, f"{folder}/{name}"):
                    return True
    except PermissionError:
        return None
    return False
