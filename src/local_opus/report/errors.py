"""Errors on standard error: what, further problems of the same kind, and the remedy."""

from __future__ import annotations

import sys

from local_opus.errors import LocalOpusError


def tell(error: LocalOpusError) -> None:
    """Print an error: one line that names what, one that says what to do."""
    for line in (
        f"error: {error.message}",
        *(f"       {detail}" for detail in error.details),
        f"  fix: {error.remedy}",
    ):
        sys.stderr.write(f"{line}\n")
