"""Whether the weights in the store are real, as ``verify --quick`` looks at them."""

from __future__ import annotations

from collections import Counter

from local_opus import verification
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
)
from local_opus.checks.context import Context
from local_opus.units import size_text
from local_opus.values import CheckState, Fix, Verdict
from local_opus.verification import Result
from local_opus.weights.store import list_variants
from local_opus.weights.verify import FOREIGN

#: Seconds: a file that looks changed is hashed, at gigabytes a second.
_SECONDS = 60.0
#: Files that are named.
_NAMED = 5


def ask(context: Context) -> Answer:
    """Compare every file with the manifest, and each manifest with the receipt."""
    host, locations = context.host, context.locations
    if not list_variants(host, locations.models):
        _require_wanted(context)
        return failed(
            f"{locations.models}: the installed model is not in the store",
            advise("Bring it again.", f"local-opus models pull {context.settings().model}"),
        )
    results = [
        verification.verify(host, subject, quick=True)
        for subject in verification.subjects(host, locations, None)
    ]
    files = sum(len(result.examined.verdicts) for result in results)
    bad = [
        (f"{result.subject.folder}/{item.path}", item)
        for result in results
        for item in result.examined.verdicts
        if item.verdict is not Verdict.REAL
    ]
    if not bad:
        size = sum(stamp.size for result in results for stamp in result.examined.seen.values())
        return passed(f"{files} files, {size_text(size)}, as they were when they were hashed")
    counts = Counter(item.verdict.value for _, item in bad)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    path, first = bad[0]
    state = CheckState.FAIL
    if {item.verdict for _, item in bad} <= {Verdict.UNEXPECTED}:
        state = CheckState.WARN  # a file beside the weights is not loaded
    return Answer(
        state,
        f"{said} of {files} files" + ("" if len(bad) > 1 else f"; {path}: {first.evidence}"),
        tuple(f"{where}: {item.verdict.value}: {item.evidence}" for where, item in bad[:_NAMED])
        if len(bad) > 1
        else (),
        _fix(results),
    )


def _require_wanted(context: Context) -> None:
    """Raise NotApplicableError where no weights are to be expected."""
    if not context.has_server():
        raise NotApplicableError("this install has no model")
    context.settings()


def _fix(results: list[Result]) -> Fix:
    for result in results:
        for item in result.examined.verdicts:
            if item.verdict in FOREIGN:
                return advise(f"Move {result.subject.folder}/{item.path} away: it is not ours.")
    return advise("Bring again what is not real.", "local-opus verify --repair")


CHECK = Check("weights", "weights", Group.MODEL, ask, _SECONDS, CheckState.FAIL)
