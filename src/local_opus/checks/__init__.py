"""The checks of ``doctor``: a new one is one module here, and one line in the registry."""

from __future__ import annotations

from local_opus.checks import drift, port, weights
from local_opus.checks.base import Check, Group
from local_opus.checks.context import Context, look
from local_opus.checks.runner import Tell
from local_opus.checks.runner import run as run_checks
from local_opus.values import CheckResult

__all__ = ["REGISTRY", "Check", "Context", "Group", "Tell", "look", "run"]

#: Every check there is, in the order in which they are told; one line each.
REGISTRY: tuple[Check, ...] = (
    drift.CHECK,
    weights.CHECK,
    port.CHECK,
)


def run(context: Context, tell: Tell | None = None) -> list[CheckResult]:
    """Return what every check found; see ``runner.run``."""
    return run_checks(REGISTRY, context, tell)
