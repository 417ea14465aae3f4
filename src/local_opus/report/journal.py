"""Lines of a service of ours for the journal, which keeps what a service prints."""

from __future__ import annotations

import sys


def tell(line: str) -> None:
    """Print a line at once: the service may be ended at any time."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
