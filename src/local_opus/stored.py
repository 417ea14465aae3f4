"""What lies in the store when an install goes: what this program brought, and what others did."""

from __future__ import annotations

import json
from collections.abc import Sequence

from local_opus import making
from local_opus.actions import build
from local_opus.actions.fetch_weights import FetchWeights
from local_opus.errors import LocalOpusError
from local_opus.history import Record
from local_opus.host import Host
from local_opus.host.files import new_name
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.signing import default_path
from local_opus.weights import manifest
from local_opus.weights.shared_files import keeping_stamps
from local_opus.weights.store import PARTIAL

#: What a kill on the way to a manifest leaves.
_HALF_WRITTEN = {manifest.STAT_NAME, new_name(manifest.NAME), new_name(manifest.STAT_NAME)}


def fetches(receipt: Receipt, locations: Locations) -> list[FetchWeights]:
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


def drop_empty(host: Host, fetched: Sequence[FetchWeights]) -> None:
    """Remove the folders of models of which nothing has come."""
    for action in fetched:
        folder = action.paths()[0]
        if host.files.stat(folder) is None or any(_sizes(host, folder).values()):
            continue
        if not _foreign_files(host, folder, fetched):
            host.files.remove_tree(folder)


def _sizes(host: Host, folder: str) -> dict[tuple[int, int], int]:
    """Return the bytes of each file in a folder, by what tells it from others: names may share."""
    return {(stat.device, stat.inode): stat.size for _, stat in host.files.walk(folder)}


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


def size(host: Host, locations: Locations) -> int:
    """Return the bytes that the store holds; a file that two variants share counts once."""
    found: dict[tuple[int, int], int] = {}
    for folder in _model_folders(host, locations):
        found |= _sizes(host, folder)
    return sum(found.values())


def purge(host: Host, locations: Locations, fetched: Sequence[FetchWeights] = ()) -> list[str]:
    """Remove the models; return why one was kept, a line each."""
    ours, kept = sort_out(host, locations, fetched)
    with keeping_stamps(host, locations.models, list(ours)):
        for folder in ours:
            host.files.remove_tree(folder)
    return list(kept.values())


def sort_out(
    host: Host, locations: Locations, fetched: Sequence[FetchWeights]
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the folders that a purge removes, with their bytes, and why it keeps the others.

    The bytes are those that go: not of files that are in a folder before, or in one that is kept.
    """
    ours, kept = [], {}
    for folder in _model_folders(host, locations):
        if foreign := _foreign_files(host, folder, fetched):
            kept[folder] = f"{folder}: holds files that are not ours ({foreign[0]})"
        else:
            ours.append(folder)
    counted: set[tuple[int, int]] = set()
    for folder in kept:
        counted |= _sizes(host, folder).keys()
    going = {}
    for folder in ours:
        sizes = _sizes(host, folder)
        going[folder] = sum(size for key, size in sizes.items() if key not in counted)
        counted |= sizes.keys()
    return going, kept


def _foreign_files(host: Host, folder: str, fetched: Sequence[FetchWeights]) -> list[str]:
    """Files that no manifest and no fetch names, outside of the program's own partial folders.

    The signature beside a variant is ours: ``models sign`` puts it there.
    """
    known = {
        f"{action.folder()}/{file.path}".removeprefix(f"{folder}/")
        for action in fetched
        for file in action.model.files
    }
    for relative, _ in host.files.walk(folder):
        if relative.endswith(f"/{manifest.NAME}"):
            variant = relative.rpartition("/")[0]
            known.add(default_path(variant))
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
