"""What ``verify`` looks at: a folder of anyone's, or what lies in the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from local_opus import control, node, selftest, whereabouts
from local_opus.catalog import load as load_built_in
from local_opus.catalog.own import load_all as load_catalog
from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError, did_you_mean
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values import CatalogFile, Device, FileVerdict
from local_opus.weights.store import list_variants
from local_opus.weights.verify import is_proven, verify_folder

__all__ = ["Subject", "canary", "is_proven", "subjects", "verify"]


@dataclass(frozen=True)
class Subject:
    """A folder or a file to verify; ``pins`` are what the catalog states of a stored model."""

    folder: str
    pins: tuple[CatalogFile, ...] | None


def subjects(host: Host, locations: Locations, target: str | None) -> list[Subject]:
    """Return what ``target`` names: a model of the store, or a path; None: all of the store.

    Raises BadInputError where nothing has that name, ProblemFoundError for an empty store.
    """
    catalog = load_catalog(host, locations)
    known = set(catalog.ids())
    stored = []
    for item in list_variants(host, locations.models):
        fetched = item.model in known and (
            item.manifest is None or item.manifest.derived_from is None
        )
        pins = catalog.get(item.model).files if fetched else None
        stored.append((item.model, Subject(item.folder, pins)))
    if target is None:
        if not stored:
            whereabouts.require(host, locations)
            raise ProblemFoundError(
                f"{locations.models}: there are no weights in the store",
                "Install a model: `local-opus install --local-opus`.",
            )
        return [subject for _, subject in stored]
    named = [subject for model, subject in stored if model == target]
    if named:
        return named
    path = os.path.abspath(target)
    if host.files.stat(path, follow=True) is not None:
        return [Subject(path, None)]
    if target in known:
        raise ProblemFoundError(
            f"{target}: not in the store", f"Fetch it: `local-opus models pull {target}`."
        )
    hint = did_you_mean(target, {model for model, _ in stored} | known)
    raise BadInputError(
        f"{target}: no folder, no file and no model has this name.{hint}",
        "Give a path, or a model of `local-opus models list`.",
    )


def verify(host: Host, subject: Subject, *, quick: bool) -> Sequence[FileVerdict]:
    """Return the verdicts; any file may match a pin of the catalog under another name."""
    known = [file for model in load_built_in().models for file in model.files]
    return verify_folder(
        host, subject.folder, quick=quick, catalog_files=subject.pins, known_files=known
    )


def canary(host: Host, locations: Locations) -> dict[str, JsonValue]:
    """Force the canary text through the installed model.

    Raises ProblemFoundError when it lies outside of the band or no band was measured.
    """
    where = node.settings(host, locations)
    control.use_installed_workers(host, locations)
    model = load_catalog(host, locations).get(where.model)
    if model.canary is None:
        raise ProblemFoundError(
            f"{model.id}: no canary band was measured for this model",
            "Verify its files alone: leave --canary out.",
        )
    try:
        return selftest.canary(host, where.model_folder, Device(where.device), model.canary)
    except LocalOpusError as error:
        raise ProblemFoundError(error.message, error.remedy) from error
