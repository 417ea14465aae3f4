"""Weights in a folder of this machine: on a disk that was carried here, say.

They are copied, not moved or linked: what is in the store must not change with the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from local_opus.errors import LocalOpusError
from local_opus.values import CatalogFile, LocalSource, Model
from local_opus.weights.digest import Digests
from local_opus.weights.door import Progress
from local_opus.weights.manifest import LocalOrigin
from local_opus.weights.sources.arrival import (
    Fetched,
    Listed,
    check_space,
    digests_in_place,
    disk_errors,
    partial_name,
    receive,
    settle,
    with_structure,
)
from local_opus.weights.store import partial_folder

if TYPE_CHECKING:
    from local_opus.host import Host

_CHUNK = 1024 * 1024


def fetch(
    host: Host,
    model: Model,
    folder: str,
    progress: Progress | None,
    listed: Listed,  # noqa: ARG001 - a copy costs no network: it begins anew
) -> tuple[Fetched, ...]:
    """Copy the model's files into ``folder``.

    Raises MachineCannotError for a full disk and LocalOpusError where the folder lacks a file, or
    has another one.
    """
    source = model.source
    if not isinstance(source, LocalSource):
        raise LocalOpusError(f"{model.id}: has no folder", "Correct the catalog's entry.")
    work = partial_folder(folder)
    origin = LocalOrigin(folder=source.folder)
    fetched = []
    with disk_errors(folder):
        host.files.make_folders(work)
        there = {
            file: digests_in_place(host, f"{folder}/{file.path}", file) for file in model.files
        }
        missing = [file for file, digests in there.items() if digests is None]
        if missing:
            need = sum(file.size for file in missing)
            check_space(host, work, need, f"copying {model.id}")
        for file, found in there.items():
            digests = found or _copy(host, source.folder, work, folder, file, progress)
            fetched.append(Fetched(file.path, digests, origin, model.trust, {}, new=found is None))
    return tuple(with_structure(host, folder, item) for item in fetched)


def _copy(
    host: Host, source: str, work: str, folder: str, file: CatalogFile, progress: Progress | None
) -> Digests:
    partial = f"{work}/{partial_name(file)}"
    chunks = _chunks(host, source, file)
    digests = receive(host, partial, file, chunks, source=source, progress=progress)
    settle(host, partial, f"{folder}/{file.path}", file)
    return digests


def _chunks(host: Host, folder: str, file: CatalogFile) -> Iterator[bytes]:
    path = f"{folder}/{file.path}"
    try:
        # A link is followed: a hub's cache is a folder of links. What it leads to must be a file.
        with host.files.open_read(path) as stream:
            while data := stream.read(_CHUNK):
                yield data
    except OSError as error:
        raise LocalOpusError(
            f"{path}: {(error.strerror or str(error)).lower()}",
            "Mount the disk, or correct the folder in the catalog's entry.",
        ) from error
