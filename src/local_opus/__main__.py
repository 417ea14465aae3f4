"""``python -m local_opus``, and what the checkout's ``installer`` starts in its environment."""

from __future__ import annotations

import sys

from local_opus.cli import main
from local_opus.invocation import MARK

if __name__ == "__main__":
    if __spec__ is None:  # started by its path: the user typed the installer's name
        sys.argv[0] = MARK
    sys.exit(main())
