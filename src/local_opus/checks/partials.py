"""Whether the store holds what unfinished downloads and conversions left."""

from __future__ import annotations

from local_opus import pruning
from local_opus.checks.base import Answer, Check, Group, by_doctor, passed, told, warned
from local_opus.checks.context import Context
from local_opus.units import size_text

_SECONDS = 10.0


def ask(context: Context) -> Answer:
    """Look at the partial folders; one that a live process works on is no orphan."""
    found = pruning.prunable(context.host, context.locations)
    kept = [f"{one.path}: {why}" for one, why in found.kept]
    if found.orphans:
        lines = [f"{one.path}: {size_text(one.bytes)}" for one in found.orphans]
        size = sum(one.bytes for one in found.orphans)
        evidence, details = told(lines, f"unfinished downloads, {size_text(size)}")
        return warned(
            evidence,
            by_doctor("Fetch the model again to go on with it, or have it removed."),
            details=(*details, *kept),
            fixable=True,
        )
    if kept:
        return passed(kept[0])
    return passed("no unfinished download lies in the store")


CHECK = Check("partials", "partial downloads", Group.MODEL, ask, _SECONDS)
