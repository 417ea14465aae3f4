"""What ``verify`` looks at: a folder of anyone's, or what lies in the store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from local_opus import whereabouts
from local_opus.attested import Attestation, Attested
from local_opus.catalog import load as load_built_in
from local_opus.catalog.load import Catalog
from local_opus.catalog.own import load_all as load_catalog
from local_opus.errors import BadInputError, ProblemFoundError, did_you_mean
from local_opus.host import Host
from local_opus.host.hub_token import hub_token
from local_opus.locations import Locations
from local_opus.values import CatalogFile, Device, HubSource, Trust
from local_opus.weights.against import Pins, Repository
from local_opus.weights.door import Progress
from local_opus.weights.store import StoredVariant, list_variants, variant_names
from local_opus.weights.structure import printable
from local_opus.weights.verify import Against, Examined, examine, is_proven


@dataclass(frozen=True)
class Subject:
    """A folder or a file to verify.

    ``model``, ``pins`` (what the catalog states) and ``attestation`` (what the receipt says of its
    manifest) are those of a variant in the store; else they are None.
    """

    folder: str
    model: str | None = None
    pins: tuple[CatalogFile, ...] | None = None
    attestation: Attestation | None = None
    #: Who states the pins.
    trust: Trust = Trust.PINNED
    #: What the catalog pins of all models: a file may be one of them under another name.
    known: tuple[CatalogFile, ...] = ()


@dataclass(frozen=True)
class Result:
    """What became of a subject; ``repaired`` names what was not real before a repair and is now.

    ``against``: the name of the list that it was compared with; None: its own manifest.
    """

    subject: Subject
    examined: Examined
    quick: bool
    against: str | None = None
    repaired: tuple[str, ...] | None = None

    @property
    def proven(self) -> bool:
        """Whether there are files and every one is real."""
        return is_proven(self.examined.verdicts)


def subjects(
    host: Host, locations: Locations, target: str | None, *, one: bool = False
) -> list[Subject]:
    """Return what ``target`` names: a model of the store, or a path; None: all of the store.

    The path of the store, or of a model in it, is what it holds, unless ``one`` wants it as one
    folder. Raises BadInputError where nothing has that name, ProblemFoundError for an empty store.
    """
    catalog = load_catalog(host, locations)
    stored = list_variants(host, locations.models)
    if target is None:
        if not stored:
            whereabouts.require(host, locations)
            raise ProblemFoundError(
                f"{locations.models}: there are no weights in the store",
                "Install a model: `local-opus install --local-opus`.",
            )
        return _of_store(host, locations, catalog, stored)
    named = [item for item in stored if item.model == target]
    if named:
        return _of_store(host, locations, catalog, named)
    path = os.path.abspath(target)
    if host.files.stat(path, follow=True) is not None:
        below = [item for item in stored if _lies_in(item, path)]
        if below and not one:
            return _of_store(host, locations, catalog, below)
        return [_of_path(host, locations, catalog, stored, path)]
    if target in catalog.ids():
        raise ProblemFoundError(
            f"{target}: not in the store", f"Fetch it: `local-opus models pull {target}`."
        )
    hint = did_you_mean(target, {item.model for item in stored} | set(catalog.ids()))
    raise BadInputError(
        f"{printable(target, 300)}: no folder, no file and no model has this name.{hint}",
        "Give a path, or a model of `local-opus models list`.",
    )


def _known() -> tuple[CatalogFile, ...]:
    """Return what this program pins: what a user pinned proves a file of that model alone."""
    return tuple(file for model in load_built_in().models for file in model.files)


def _of_store(
    host: Host, locations: Locations, catalog: Catalog, stored: Iterable[StoredVariant]
) -> list[Subject]:
    attested = Attested(host, locations)
    known, pinned = set(catalog.ids()), _known()
    return [
        Subject(
            item.folder,
            item.model,
            _pins(catalog, item) if item.model in known else None,
            attested.of(item.folder),
            catalog.get(item.model).trust if item.model in known else Trust.PINNED,
            pinned,
        )
        for item in stored
    ]


def _pins(catalog: Catalog, item: StoredVariant) -> tuple[CatalogFile, ...] | None:
    """Return what the catalog states of a variant; None of one that was made here."""
    model = catalog.get(item.model)
    return model.files if item.variant == variant_names(model, Device.CPU).source else None


def _lies_in(item: StoredVariant, path: str) -> bool:
    """Whether ``path`` is the folder of the variant's model, or that of the store."""
    model = os.path.dirname(os.path.realpath(item.folder))
    return os.path.realpath(path) in {model, os.path.dirname(model)}


def _of_path(
    host: Host,
    locations: Locations,
    catalog: Catalog,
    stored: Iterable[StoredVariant],
    path: str,
) -> Subject:
    """Return a path's subject: one of the store's, where it leads to or into a variant."""
    real = os.path.realpath(path)
    for item in stored:
        folder = os.path.realpath(item.folder)
        if real == folder:
            return _of_store(host, locations, catalog, [item])[0]
        if os.path.dirname(real) == folder:
            return replace(_of_store(host, locations, catalog, [item])[0], folder=path)
    return Subject(path, known=_known())


def against(host: Host, locations: Locations, named: str) -> Against:
    """Return the list that ``named`` is: ORGANISATION/NAME[@REVISION] of the hub, or a model.

    Raises BadInputError for an unknown model, and as ``hub_metadata.resolve`` does.
    """
    catalog = load_catalog(host, locations)
    if "/" not in named:
        model = catalog.get(named)
        return Pins(model.id, model.files, model.trust)
    # The hub's clients, where it is asked.
    from local_opus.host import hub_metadata  # noqa: PLC0415
    from local_opus.weights.sources.hub import endpoint  # noqa: PLC0415

    repo, at, revision = named.partition("@")
    known = {one.source.repo for one in catalog.models if isinstance(one.source, HubSource)}
    found = hub_metadata.resolve(
        endpoint(host),
        repo,
        revision if at else None,
        hub_token(host.environ),
        known=known,
    )
    return Repository(f"{found.repo}@{found.commit}", found.files)


def verify(
    host: Host,
    subject: Subject,
    *,
    quick: bool = False,
    against: Against | None = None,
    progress: Progress | None = None,
) -> Result:
    """Verify a subject, against its manifest or against another list."""
    said = subject.attestation
    examined = examine(
        host,
        subject.folder,
        quick=quick,
        catalog_files=subject.pins,
        known_files=subject.known,
        manifest_sha256=said.sha256 if said is not None else None,
        against=against,
        pins_trust=subject.trust,
        stranger=subject.model is None,
        stamps_too=True,
        progress=progress,
    )
    return Result(subject, examined, quick, against.name if against is not None else None)
