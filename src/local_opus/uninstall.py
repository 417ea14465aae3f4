"""The way back: every action reverted, then what only this program can have left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from local_opus import making, receipts, state, whereabouts
from local_opus.actions import build
from local_opus.actions.create_folder import CreateFolder
from local_opus.actions.fetch_weights import FetchWeights
from local_opus.errors import LocalOpusError
from local_opus.history import Entry, Event, Record
from local_opus.host import Host
from local_opus.host.files import new_name
from local_opus.journal import Journal, Listener
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.refusals import explained
from local_opus.report.reporter import Reporter
from local_opus.reverting import revert_all
from local_opus.weights import manifest
from local_opus.weights.store import PARTIAL

#: What a kill on the way to a manifest leaves.
_HALF_WRITTEN = {manifest.STAT_NAME, new_name(manifest.NAME), new_name(manifest.STAT_NAME)}


@dataclass
class Removed:
    """What an uninstall left: what the user edited, and bytes of weights in the store."""

    kept: list[str] = field(default_factory=list)
    weights_left: int = 0
    nothing: bool = False


def uninstall(host: Host, locations: Locations, *, purge: bool, tell: Reporter) -> Removed:
    """Revert the receipt; with ``purge`` remove the store too. Raises LocalOpusError.

    While weights stay, so do the folders that hold them, and the receipt that says who made those.
    """
    with explained(locations.state):
        return _uninstall(host, locations, purge=purge, tell=tell)


def _uninstall(host: Host, locations: Locations, *, purge: bool, tell: Reporter) -> Removed:
    with state.held_if_there(host, locations) as is_there:
        if not is_there:
            removed = Removed(nothing=True)
            if purge:
                _purge(host, locations, removed)
            removed.weights_left = stored_bytes(host, locations)
            return removed
        receipt = whereabouts.receipt(host, locations)
        removed = _revert(host, locations, receipt, tell, purge=purge)
        removed.weights_left = stored_bytes(host, locations)
        if not removed.weights_left:
            state.leave(host, locations, receipt)
        elif not receipt.history.left:
            receipt.append(Event.LEFT)
        removed.kept += [
            f"{path}: a damaged receipt; nothing here reads it, so remove it when you want"
            for path in receipts.set_aside(host, locations.receipt)
        ]
    return removed


def _revert(
    host: Host, locations: Locations, receipt: Receipt, tell: Reporter, *, purge: bool
) -> Removed:
    removed = Removed(nothing=True)
    reached_folders = False
    fetched = _fetches(receipt, locations)

    def wanted(entry: Entry) -> bool:
        nonlocal reached_folders
        is_folder = entry.kind == CreateFolder.kind
        if is_folder and not reached_folders:
            # The store goes once nothing uses it, and before the folders that it lies in.
            reached_folders = True
            if purge:
                _purge(host, locations, removed, fetched)
            else:
                _drop_empty(host, fetched)
        holds_store = is_folder and f"{locations.models}/".startswith(f"{entry.params['path']}/")
        if holds_store and stored_bytes(host, locations):
            return False
        removed.nothing = False
        return True

    listener = Listener(tell.started, tell.progress, tell.finished)
    journal = Journal(host, receipt, build, locations.roots, listener, locations.scope)
    removed.kept += revert_all(journal, wanted).kept
    if purge:
        _purge(host, locations, removed, fetched)
    return removed


def _fetches(receipt: Receipt, locations: Locations) -> list[FetchWeights]:
    """Return every fetch that was begun: a killed one left files that no manifest names."""
    begun = {
        json.dumps(one.params): one for one in receipt.records if one.kind == FetchWeights.kind
    }
    made = (_fetch(record, locations) for record in begun.values())
    return [action for action in made if action is not None]


def _fetch(record: Record, locations: Locations) -> FetchWeights | None:
    """Return the fetch of a record; None where it was not into this store, whatever it says."""
    try:
        action = making.make(build, record.kind, record.params, (locations.models,))
    except LocalOpusError:  # it counts as no fetch: what it speaks of stays where it is
        return None
    return action if isinstance(action, FetchWeights) else None


def _drop_empty(host: Host, fetched: Sequence[FetchWeights]) -> None:
    """Remove the folders of models of which nothing has come."""
    for action in fetched:
        folder = action.paths()[0]
        if host.files.stat(folder) is None or any(_sizes(host, folder)):
            continue
        if not _foreign_files(host, folder, fetched):
            host.files.remove_tree(folder)


def _sizes(host: Host, folder: str) -> Iterator[int]:
    return (found.size for _, found in host.files.walk(folder))


def _model_folders(host: Host, locations: Locations) -> list[str]:
    """Return the folders in the store; a file among them is somebody else's."""
    store = host.files.stat(locations.models, follow=True)
    if store is None or store.kind != "folder":
        return []
    folders = (f"{locations.models}/{name}" for name in host.files.list(locations.models))
    return [
        path
        for path in folders
        if (found := host.files.stat(path)) is not None and found.kind == "folder"
    ]


def stored_bytes(host: Host, locations: Locations) -> int:
    """Return the bytes that the store holds."""
    folders = _model_folders(host, locations)
    return sum(size for folder in folders for size in _sizes(host, folder))


def _purge(
    host: Host, locations: Locations, removed: Removed, fetched: Sequence[FetchWeights] = ()
) -> None:
    for folder in _model_folders(host, locations):
        foreign = _foreign_files(host, folder, fetched)
        if foreign:
            removed.kept.append(f"{folder}: holds files that are not ours ({foreign[0]})")
        else:
            host.files.remove_tree(folder)


def _foreign_files(host: Host, folder: str, fetched: Sequence[FetchWeights]) -> list[str]:
    """Files that no manifest and no fetch names, outside of the program's own partial folders."""
    known = {
        f"{action.folder()}/{file.path}".removeprefix(f"{folder}/")
        for action in fetched
        for file in action.model.files
    }
    for relative, _ in host.files.walk(folder):
        if relative.endswith(f"/{manifest.NAME}"):
            variant = relative.rpartition("/")[0]
            try:
                listed = manifest.read(host, f"{folder}/{variant}").files
            except LocalOpusError:  # damaged: nothing tells whose the files beside it are
                continue
            known |= {f"{variant}/{file.path}" for file in listed}
            known |= {relative, f"{variant}/{manifest.STAT_NAME}"}
    return [
        relative
        for relative, _ in host.files.walk(folder)
        if relative not in known
        and relative.rpartition("/")[2] not in _HALF_WRITTEN
        and not relative.startswith(f"{PARTIAL}/")
    ]
