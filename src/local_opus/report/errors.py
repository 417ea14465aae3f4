"""Errors on standard error: what, further problems of the same kind, and the remedy."""

from __future__ import annotations

import sys

from local_opus import invocation
from local_opus.errors import InterruptedRunError, LocalOpusError


def tell(error: LocalOpusError) -> None:
    """Print an error: one line that names what, one that says what to do."""
    kind = "stopped" if isinstance(error, InterruptedRunError) else "error"
    for line in (
        f"{kind}: {error.message}",
        *(f"       {detail}" for detail in error.details),
        f"{'next' if kind == 'stopped' else 'fix':>{len(kind)}}: {error.remedy}",
    ):
        sys.stderr.write(f"{invocation.as_typed(line)}\n")
