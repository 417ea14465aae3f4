"""Orphan partials: what unfinished downloads and conversions left, removed on request alone."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, field

from local_opus import state, whereabouts
from local_opus.host import Host, locks
from local_opus.host.locks import HeldError
from local_opus.locations import Locations
from local_opus.weights.orphans import StoredPartial, list_partials, stale_locks
from local_opus.weights.store import PARTIAL, list_models

_WORKED_ON = "a process works on it"


@dataclass(frozen=True)
class Prunable:
    """The partials that can go, those that can't, by why, and bytes that were freed."""

    orphans: tuple[StoredPartial, ...]
    kept: tuple[tuple[StoredPartial, str], ...]
    removed: tuple[StoredPartial, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes of what was removed."""
        return sum(one.bytes for one in self.removed)


@dataclass
class _Sorted:
    orphans: list[StoredPartial] = field(default_factory=list)
    kept: list[tuple[StoredPartial, str]] = field(default_factory=list)


def prunable(host: Host, locations: Locations) -> Prunable:
    """Return what ``prune`` would do; nothing is changed."""
    found = _sort(host, locations)
    return Prunable(tuple(found.orphans), tuple(found.kept))


def prune(host: Host, locations: Locations) -> Prunable:
    """Remove the partials that no live process works on; return what became of each.

    Raises LocalOpusError while another run changes this install: it may work on any of them.
    """
    whereabouts.require(host, locations)
    with state.held_if_there(host, locations):
        found = _sort(host, locations)
        removed = []
        for one in found.orphans:
            if (why := _remove(host, one)) is not None:
                found.kept.append((one, why))
            else:
                removed.append(one)
        for model in list_models(host, locations.models):
            folder = f"{locations.models}/{model}"
            for lock in stale_locks(host, folder):
                with suppress(HeldError), locks.exclusive(host.files, lock):
                    host.files.discard(lock)
            if model in {one.model for one in removed}:
                _drop_empty(host, folder)
    return Prunable((), tuple(found.kept), tuple(removed))


def _remove(host: Host, one: StoredPartial) -> str | None:
    """Remove a partial; return why it stays, None where it went."""
    try:
        with locks.exclusive(host.files, one.lock):
            host.files.remove_tree(one.path)
            host.files.discard(one.lock)
    except HeldError:  # since it was looked at
        return _WORKED_ON
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return "a process still writes into it"  # a worker that outlived its run holds no lock
    return None


def _sort(host: Host, locations: Locations) -> _Sorted:
    found = _Sorted()
    for one in list_partials(host, locations.models):
        if one.held:
            found.kept.append((one, _WORKED_ON))
        elif one.held is None:
            found.kept.append((one, "whether a process works on it can't be told: not yours"))
        else:
            found.orphans.append(one)
    return found


def _drop_empty(host: Host, model: str) -> None:
    """Remove the folders of a model in which nothing has come to be."""
    for name in (PARTIAL, *host.files.list(model)):
        folder = f"{model}/{name}"
        stat = host.files.stat(folder)
        if stat is not None and stat.kind == "folder" and not host.files.list(folder):
            host.files.remove_folder(folder)
    if not host.files.list(model):
        host.files.remove_folder(model)
