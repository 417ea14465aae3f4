"""Where the machines of these tests are made: in memory, where there is room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from campaigns import Campaigns

import memory

_ROOM = 32 * 1024 * 1024


@pytest.fixture(scope="session")
def campaigns() -> Iterator[Campaigns]:
    """Return the program in which campaigns run."""
    folder = memory.new_folder(_ROOM)
    program = Campaigns(folder)
    try:
        yield program
    finally:
        program.end()
        memory.remove(folder)
