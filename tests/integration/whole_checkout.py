"""A copy of the whole checkout, as a clone of it would be."""

from __future__ import annotations

import shutil
from pathlib import Path

from node_program import CHECKOUT

#: What .gitignore names, and what belongs to version control itself.
_LEFT = (".git", ".env", "__pycache__", "*.pyc", "dist", "build", "*.egg-info", ".*_cache",
         ".hypothesis")  # fmt: skip


def copy_all(target: Path) -> Path:
    """Copy every file of the checkout that version control keeps."""
    return Path(shutil.copytree(CHECKOUT, target, ignore=shutil.ignore_patterns(*_LEFT)))
