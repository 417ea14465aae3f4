"""``python -m local_opus``, and what the checkout's ``installer`` starts in its environment."""

from __future__ import annotations

import sys

from local_opus import interrupts
from local_opus.invocation import MARK


def start() -> int:
    """Run the command line; a signal that comes while it is imported ends it as quietly."""
    try:
        interrupts.raise_on_signals()
        from local_opus.cli import main  # noqa: PLC0415 - after signals are looked after
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    if __spec__ is None:  # started by its path: the user typed the installer's name
        sys.argv[0] = MARK
    sys.exit(start())
