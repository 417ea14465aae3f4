"""``verify --repair``: what is not real in the store comes again, as ``models pull`` brings it.

A file that no list names is nobody's to remove here, and a variant that holds one is left alone: to
make it anew would remove that file with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from local_opus import control, fallback, node, shelf, state, verification
from local_opus.catalog.own import load_all as load_catalog
from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.report.reporter import Reporter
from local_opus.values import FileVerdict, Verdict
from local_opus.verification import Result, Subject
from local_opus.weights import manifest as manifests
from local_opus.weights.seen import changed_since
from local_opus.weights.structure import printable
from local_opus.weights.verify import FOREIGN


def require_repairable(host: Host, locations: Locations, subjects: Sequence[Subject]) -> None:
    """Raise BadInputError where a subject is no model of the store that can be fetched again."""
    known = load_catalog(host, locations).ids()
    for subject in subjects:
        if subject.model is None:
            raise BadInputError(
                f"{printable(subject.folder, 300)}: not in the store, so --repair does not know "
                "where it comes from",
                "Leave --repair out; bring a model into the store with `local-opus models pull`.",
            )
        if subject.model not in known:
            raise BadInputError(
                f"{subject.model}: not in the catalog, so it can't be fetched again",
                f"Leave --repair out, or remove it: `local-opus models remove {subject.model}`.",
            )


def repair(
    host: Host,
    locations: Locations,
    target: str | None,
    results: Sequence[Result],
    tell: Reporter,
) -> list[Result]:
    """Bring again what is not real of the ``results`` for ``target``; return the new results.

    What is real is not touched. Raises as ``shelf.pull`` does.
    """
    models = []
    left = {result.subject.model for result in results if foreign(result)}
    for result in results:
        if result.proven or result.subject.model in left:
            continue
        with state.held(host, locations):
            _disown(host, result)
        if any(item.path != manifests.STAT_NAME for item in _bad(result)):
            models.append(str(result.subject.model))
    for model in dict.fromkeys(models):
        shelf.pull(host, locations, model, tell)
    before = {result.subject.folder: result for result in results}
    return [
        _again(host, subject, before.get(subject.folder))
        for subject in verification.subjects(host, locations, target)
    ]


def load_anew(host: Host, locations: Locations, results: Sequence[Result]) -> bool:
    """Start the server anew where it serves from a folder that was repaired; return whether it was.

    Its engine, ended one day, would not load these files again: they are not those that the server
    verified. Raises LocalOpusError as ``control.restart``.
    """
    repaired = {one.subject.folder for one in results if one.repaired and one.proven}
    if not repaired or node.serving(host, locations) is None:
        return False
    if fallback.settings(host, locations).model_folder not in repaired:
        return False
    control.restart(host, locations)
    return True


def _again(host: Host, subject: Subject, before: Result | None) -> Result:
    if before is not None and before.proven:
        return replace(before, repaired=())
    result = verification.verify(host, subject)
    if before is None:
        return replace(result, repaired=())
    real = {item.path: item.verdict is Verdict.REAL for item in result.examined.verdicts}
    # What got no verdict any more is not missed: a bad manifest was replaced.
    done = tuple(item.path for item in _bad(before) if real.get(item.path, True))
    return replace(result, repaired=done)


def foreign(result: Result) -> list[FileVerdict]:
    """Return the files that somebody else has to move away."""
    return [item for item in result.examined.verdicts if item.verdict in FOREIGN]


def _bad(result: Result) -> list[FileVerdict]:
    return [item for item in result.examined.verdicts if item.verdict is not Verdict.REAL]


def _disown(host: Host, result: Result) -> None:
    """Remove what a pull would believe and must not: a manifest that is not the receipt's.

    Stamps go too: what rotted on the disk looks untouched. Where they alone are damaged they are
    written anew.
    """
    folder = result.subject.folder
    if host.files.stat(f"{folder}/{manifests.NAME}") is None:
        return
    bad = {item.path for item in _bad(result)}
    if manifests.NAME in bad:
        host.files.discard(f"{folder}/{manifests.NAME}")
    host.files.discard(f"{folder}/{manifests.STAT_NAME}")
    # What was changed since it was verified is hashed by whoever comes next.
    untouched = changed_since(host, folder, result.examined.seen) is None
    if untouched and bad == {manifests.STAT_NAME}:
        manifest, digest = manifests.read_with_digest(host, folder)
        manifests.write_stamps(host, folder, manifest, digest)
