"""A user's home without anything in it, and where an install of that user lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus.locations import Locations, locate
from local_opus.values import Scope


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root/home/user").mkdir(parents=True)
    return FakeHost(tmp_path / "root")


@pytest.fixture
def places(host: FakeHost) -> Locations:
    return locate(Scope.USER, host.environ)
