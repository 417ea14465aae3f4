"""Brings one model's source variant into the store: proven, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local_opus import __version__
from local_opus.errors import LocalOpusError
from local_opus.host import locks
from local_opus.values import Device, Model
from local_opus.weights import manifest as manifests
from local_opus.weights import shared_files
from local_opus.weights.digest import SEGMENT_SIZE
from local_opus.weights.door import Progress
from local_opus.weights.manifest import Manifest, ManifestFile
from local_opus.weights.salvage import known_of
from local_opus.weights.seen import Seen, look
from local_opus.weights.sources.arrival import Fetched, disk_errors
from local_opus.weights.stamps import stamp_of
from local_opus.weights.store import clear_leftovers, held, variant_folder, variant_names
from local_opus.weights.verify import is_proven, verify_folder

if TYPE_CHECKING:
    from local_opus.host import Host

CREATED_BY = f"local-opus {__version__}"


@dataclass(frozen=True)
class Stored:
    """A variant that is in the store and proven; ``changed`` is false where it already was."""

    folder: str
    variant: str
    manifest: Manifest
    manifest_sha256: str
    changed: bool


def fetch_model(
    host: Host, models: str, model: Model, *, progress: Progress | None = None, quick: bool = False
) -> Stored:
    """Return the model's source variant below the folder ``models``, fetched where it is missing.

    A variant that is there is verified against the catalog first (``quick``: as ``verify_folder``
    says) and fetched again only where it fails. One run at a time does it, the others wait. Raises
    MachineCannotError without space, LocalOpusError when the source fails or serves another file.
    """
    variant = variant_names(model, Device.CPU).source
    folder = variant_folder(models, model.id, variant)
    there = _there(host, folder, model, progress, quick=quick)
    if there is not None:
        clear_leftovers(host, folder)
        return there
    from local_opus.weights.sources.registry import source_of  # noqa: PLC0415 - loads requests

    source = source_of(model)
    with disk_errors(folder), held(host, folder, progress):
        # Another run may have brought it while this one waited.
        there = _there(host, folder, model, progress, quick=quick)
        if there is not None:
            return there
        before = _listed(host, folder)
        shared_files.take(host, models, folder, model.files)
        seen = look(host, folder)
        fetched = source(host, model, folder, progress, known_of(before))
    # Without the lock's file: once the manifest says that all is done, nobody comes to remove it.
    with disk_errors(folder), locks.folder(host.files, folder):
        return _list(host, model, variant, folder, fetched, before, seen)


def _list(
    host: Host,
    model: Model,
    variant: str,
    folder: str,
    fetched: Sequence[Fetched],
    before: Manifest | None,
    seen: Seen,
) -> Stored:
    manifest = Manifest(
        model=model.id,
        variant=variant,
        created_by=CREATED_BY,
        files=tuple(manifest_file(item) for item in fetched),
    )
    # A file that does not belong here keeps the folder from being proven; it is not ours to
    # remove, and saying "changed" again and again would not be true.
    changed = any(item.new for item in fetched) or before != manifest
    # What was there is hashed first, and others may take hours to come.
    touched = {
        item.path
        for item in fetched
        if not item.new and seen.get(item.path) != stamp_of(host, f"{folder}/{item.path}")
    }
    sha256 = manifests.write(host, folder, manifest, touched)
    return Stored(folder, variant, manifest, sha256, changed=changed)


def _listed(host: Host, folder: str) -> Manifest | None:
    """Return the manifest that is there, None where there is none that can be read."""
    try:
        return manifests.read(host, folder)
    except LocalOpusError:
        return None


def _there(
    host: Host, folder: str, model: Model, progress: Progress | None, *, quick: bool
) -> Stored | None:
    if host.files.stat(f"{folder}/{manifests.NAME}") is None:
        return None
    verdicts = verify_folder(
        host, folder, quick=quick, catalog_files=model.files, progress=progress
    )
    if not is_proven(verdicts):
        return None
    manifest, sha256 = manifests.read_with_digest(host, folder)
    return Stored(folder, manifest.variant, manifest, sha256, changed=False)


def manifest_file(item: Fetched) -> ManifestFile:
    """Return the manifest's entry of a fetched file."""
    digests = item.digests
    if digests.sha256 is None or digests.blake3 is None:
        raise LocalOpusError(f"{item.path}: was not hashed", "Report this.")
    return ManifestFile(
        path=item.path,
        size=digests.size,
        sha256=digests.sha256,
        blake3=digests.blake3,
        segments=digests.segments if digests.size > SEGMENT_SIZE else (),
        origin=item.origin,
        trust=item.trust,
        structure=item.structure,
    )
