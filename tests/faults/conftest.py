"""Where the machines of these tests are made: in memory, where there is room."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cases import Campaign
from worlds import Variant

_MEMORY = "/dev/shm"
_ROOM = 32 * 1024 * 1024


@pytest.fixture(scope="session")
def campaign_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Variant], Campaign]]:  # fmt: skip
    """Return the campaign of a variant, its clean runs done."""
    base = _folder() or tmp_path_factory.mktemp("faults")
    made: dict[Variant, Campaign] = {}

    def of(variant: Variant) -> Campaign:
        if variant not in made:
            folder = base / str(len(made))
            folder.mkdir()
            made[variant] = Campaign(variant, folder)
            made[variant].prepare()
            gc.freeze()  # what is here now is shared with every fork
        return made[variant]

    try:
        yield of
    finally:
        shutil.rmtree(base)


def _folder() -> Path | None:
    if not os.access(_MEMORY, os.W_OK) or shutil.disk_usage(_MEMORY).free < _ROOM:
        return None
    return Path(tempfile.mkdtemp(prefix="local-opus-faults-", dir=_MEMORY))
