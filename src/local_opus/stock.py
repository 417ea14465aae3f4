"""What there is: the catalog against this machine, and what lies in the store.

Apart from ``shelf``, which brings and removes: a list must not wait for what a download imports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from local_opus import uses
from local_opus.catalog.dimensions import of_gguf
from local_opus.catalog.engine_memory import Dimensions
from local_opus.catalog.fitting import fit
from local_opus.catalog.needs import loaded_size
from local_opus.catalog.own import load_all as load_catalog
from local_opus.devices.names import kind_of
from local_opus.facts import gather
from local_opus.host import Host, locks
from local_opus.locations import Locations
from local_opus.report.models import ModelRow
from local_opus.values import Device, HostFacts, Model, Trust
from local_opus.weights import gguf
from local_opus.weights.manifest import Manifest
from local_opus.weights.orphans import StoredPartial, list_partials
from local_opus.weights.store import StoredVariant, list_variants, variant_folder, variant_names
from local_opus.weights.structure import Refusal

#: The weakest first: a variant is worth as much as its worst file.
_WEAKEST = (Trust.UNPROVEN, Trust.DERIVED, Trust.HUB, Trust.PINNED)


@dataclass(frozen=True)
class StoredRow:
    """One variant in the store.

    ``bytes`` are those of its files on the disk; ``trust`` is what its manifest says (None: there
    is none that can be read, ``problem`` says why); ``used_by`` is who loads it.
    """

    variant: StoredVariant
    known: bool
    bytes: int
    trust: Trust | None
    used_by: str | None

    @property
    def problem(self) -> str | None:
        """Why nothing is known of it but its size."""
        return self.variant.problem


@dataclass(frozen=True)
class Stock:
    """The store: its variants and partials, and ``bytes`` of all files, each counted once.

    ``busy``: whether a run that changes this install is at work now, which uses partials too; None:
    this user can't tell.
    ``notes`` are what could not be learned, a line each.
    """

    folder: str
    rows: tuple[StoredRow, ...]
    partials: tuple[StoredPartial, ...]
    bytes: int
    busy: bool | None
    notes: tuple[str, ...]


def is_stored(host: Host, locations: Locations, model: Model, device: str | None) -> bool:
    """Whether the variant that would be served lies in the store."""
    wanted = variant_names(model, kind_of(device) if device else Device.CPU).served
    try:
        stored = list_variants(host, locations.models)
    except PermissionError:  # closed to this user, who may be about to repair that
        return False
    return _holds(stored, model, wanted)


def _holds(stored: Iterable[StoredVariant], model: Model, variant: str) -> bool:
    return any(
        item.model == model.id and item.variant == variant and item.manifest is not None
        for item in stored
    )


def row(
    host: Host, locations: Locations, facts: HostFacts, model: Model, device: str | None
) -> ModelRow:
    """Return the row of one model on a machine of which the facts are known."""
    stored = is_stored(host, locations, model, device)
    sized = dimensions_of(host, locations, model) if stored else None
    return ModelRow(model, fit(model, facts, device, stored=stored, sized=sized), stored)


def dimensions_of(host: Host, locations: Locations, model: Model) -> Dimensions | None:
    """Return the dimensions that a stored GGUF states; None where there is none that tells them."""
    if model.format != "gguf" or len(model.files) != 1:
        return None
    folder = variant_folder(locations.models, model.id, variant_names(model, Device.CPU).source)
    try:
        with host.files.open_read(f"{folder}/{model.files[0].path}") as stream:
            info = gguf.check(stream, model.size)
    except OSError:  # not there, or closed to this user: then rules count
        return None
    return None if isinstance(info, Refusal) else of_gguf(info, loaded_size(model))


def rows(host: Host, locations: Locations, device: str | None) -> list[ModelRow]:
    """Return a row a model, in the catalog's order."""
    facts = gather(host, disk_path=locations.models)
    models = load_catalog(host, locations).models
    return [row(host, locations, facts, model, device) for model in models]


def row_of(host: Host, locations: Locations, model_id: str) -> ModelRow:
    """Return the row of one model. Raises BadInputError for an unknown one."""
    model = load_catalog(host, locations).get(model_id)
    return row(host, locations, gather(host, disk_path=locations.models), model, None)


def take(host: Host, locations: Locations) -> Stock:
    """Look through the store. Raises PermissionError where it is closed to this user."""
    catalog = load_catalog(host, locations)
    known = set(catalog.ids())
    used = uses.configured(host, locations)
    found = []
    seen: set[tuple[int, int]] = set()
    total = 0
    for item in list_variants(host, locations.models):
        size = 0
        for _, stat in host.files.walk(item.folder):
            size += stat.size
            if (stat.device, stat.inode) not in seen:
                seen.add((stat.device, stat.inode))
                total += stat.size
        used_by = used.of(item.folder)
        found.append(StoredRow(item, item.model in known, size, trust(item.manifest), used_by))
    partials = list_partials(host, locations.models)
    return Stock(
        folder=locations.models,
        rows=tuple(found),
        partials=partials,
        bytes=total + sum(one.bytes for one in partials),
        busy=_is_busy(host, locations),
        notes=(*used.problems, *([catalog.unread] if catalog.unread else [])),
    )


def trust(manifest: Manifest | None) -> Trust | None:
    """Return the weakest trust of a manifest's files; None without a manifest."""
    if manifest is None:
        return None
    found = {file.trust for file in manifest.files}
    return next(one for one in _WEAKEST if one in found)


def _is_busy(host: Host, locations: Locations) -> bool | None:
    try:
        return locks.is_held(host.files, locations.lock)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        return None
