"""What ``verify`` looks at: a folder of anyone's, or what lies in the store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue

from local_opus import control, node, selftest, whereabouts
from local_opus.attested import Attestation, Attested
from local_opus.catalog import load as load_built_in
from local_opus.catalog.load import Catalog
from local_opus.catalog.own import load_all as load_catalog
from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError, did_you_mean
from local_opus.host import Host
from local_opus.host.hub_token import hub_token
from local_opus.locations import Locations
from local_opus.values import CatalogFile, Device, HubSource
from local_opus.weights.against import Pins, Repository
from local_opus.weights.sources.hub import endpoint
from local_opus.weights.store import StoredVariant, list_variants
from local_opus.weights.structure import printable
from local_opus.weights.verify import Against, Examined, examine, is_proven

__all__ = ["Result", "Subject", "against", "canary", "subjects", "verify"]


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


def subjects(host: Host, locations: Locations, target: str | None) -> list[Subject]:
    """Return what ``target`` names: a model of the store, or a path; None: all of the store.

    Raises BadInputError where nothing has that name, ProblemFoundError for an empty store.
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


def _of_store(
    host: Host, locations: Locations, catalog: Catalog, stored: Iterable[StoredVariant]
) -> list[Subject]:
    attested = Attested(host, locations)
    found = []
    for item in stored:
        derived = item.manifest is not None and item.manifest.derived_from is not None
        known = item.model in catalog.ids() and not derived
        pins = catalog.get(item.model).files if known else None
        found.append(Subject(item.folder, item.model, pins, attested.of(item.folder)))
    return found


def _of_path(
    host: Host,
    locations: Locations,
    catalog: Catalog,
    stored: tuple[StoredVariant, ...],
    path: str,
) -> Subject:
    """Return a path's subject: one of the store's, where it leads to or into a variant."""
    real = os.path.realpath(path)
    for item in stored:
        if real in {item.folder, os.path.realpath(item.folder)}:
            return _of_store(host, locations, catalog, [item])[0]
        if os.path.dirname(real) == os.path.realpath(item.folder):
            (one,) = _of_store(host, locations, catalog, [item])
            return Subject(path, one.model, one.pins, one.attestation)
    return Subject(path)


def against(host: Host, locations: Locations, named: str) -> Against:
    """Return the list that ``named`` is: ORGANISATION/NAME[@REVISION] of the hub, or a model.

    Raises BadInputError for an unknown model, and as ``hub_metadata.resolve`` does.
    """
    catalog = load_catalog(host, locations)
    if "/" not in named:
        model = catalog.get(named)
        return Pins(model.id, model.files)
    from local_opus.host import hub_metadata  # noqa: PLC0415 - the hub's client, if it is asked

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
    host: Host, subject: Subject, *, quick: bool = False, against: Against | None = None
) -> Result:
    """Verify a subject; any file may match a pin of the program's catalog under another name."""
    known = [file for model in load_built_in().models for file in model.files]
    said = subject.attestation
    examined = examine(
        host,
        subject.folder,
        quick=quick,
        catalog_files=subject.pins,
        known_files=known,
        manifest_sha256=said.sha256 if said is not None else None,
        against=against,
        stamps_too=True,
    )
    return Result(subject, examined, quick, against.name if against is not None else None)


def canary(host: Host, locations: Locations, results: Iterable[Result]) -> dict[str, JsonValue]:
    """Force the canary text through the installed model, which must be among the ``results``.

    Raises BadInputError where it is not, and ProblemFoundError when there is none, when it lies
    outside of the band, when no band was measured, or when a file was swapped meanwhile.
    """
    try:
        where = node.settings(host, locations)
    except BadInputError:
        raise
    except LocalOpusError as error:
        raise ProblemFoundError(error.message, error.remedy) from error
    of = {result.subject.folder: result.examined for result in results}
    before = of.get(where.model_folder)
    if before is None:
        raise BadInputError(
            f"--canary: asks the installed model {where.model}, and that is not what was verified",
            f"Name no target, or {where.model}.",
        )
    control.use_installed_workers(host, locations)
    model = load_catalog(host, locations).get(where.model)
    if model.canary is None:
        raise ProblemFoundError(
            f"{model.id}: no canary band was measured for this model",
            "Verify its files alone: leave --canary out.",
        )
    device = Device(where.device)
    try:
        return selftest.canary(host, where.model_folder, device, model.canary, before.seen)
    except LocalOpusError as error:
        raise ProblemFoundError(error.message, error.remedy) from error
