"""Where the machines of these tests are made: in memory, where there is room."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaigns import Campaigns

_MEMORY = "/dev/shm"
_ROOM = 32 * 1024 * 1024


@pytest.fixture(scope="session")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaigns]:
    """Return the program in which campaigns run."""
    folder = _folder() or tmp_path_factory.mktemp("faults")
    program = Campaigns(folder)
    try:
        yield program
    finally:
        program.end()
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path | None:
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM:
        return None
    return Path(tempfile.mkdtemp(prefix="local-opus-faults-", dir=_MEMORY))
