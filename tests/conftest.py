"""What all tests share: a home of their own, settings that a user's shell can't change."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

import memory

CHECKOUT = Path(__file__).resolve().parent.parent

# Whoever starts the tests in the background may have them ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)

# No database below the working directory, and no time limit for one example: CI's machine is slow.
hypothesis.settings.register_profile("here", database=None, deadline=None)
hypothesis.settings.load_profile("here")


#: What a whole run writes at most, in bytes.
WRITTEN = 4 * 1024**3


@pytest.hookimpl(tryfirst=True)  # before pytest's own, which takes the option
def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a folder in memory, where there is room for it and nobody named another."""
    of_another = hasattr(config, "workerinput")  # xdist gives its processes theirs
    if of_another or config.option.basetemp is not None or not memory.has_room(WRITTEN):
        return
    folder = memory.new_folder(WRITTEN)
    config.option.basetemp = folder / "pytest"
    config.add_cleanup(lambda: memory.remove(folder))


#: Modules whose tests go on, one after the other, with what the first install made.
SHARES_INSTALL = re.compile(r".*/test_install(_repair)?\.py")


#: Tests that take a minute each and share nothing that takes long to make.
STANDS_ALONE = re.compile(r".*/faults/test_faults_\w+\.py")


class ByFile(LoadScopeScheduling):
    """Gives a process whole files, in order, so that their fixtures are made once."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if STANDS_ALONE.fullmatch(path):
            return nodeid
        return "install" if SHARES_INSTALL.fullmatch(path) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Choose how tests are given to processes."""
    config.option.loadscopereorder = False  # not those of many tests first, but as collected
    return ByFile(config, log)


def _length(item: pytest.Item) -> int:
    """Return a rank: what takes long comes first, so that no process is left with it in the end."""
    path = item.path.as_posix()
    if SHARES_INSTALL.fullmatch(path):
        return 0
    folders = ("faults", "integration", "server")
    return 1 + next((n for n, name in enumerate(folders) if f"/{name}/" in path), len(folders))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long ones first. Mark all of tests/e2e, so that none runs by forgetting the mark."""
    items.sort(key=_length)
    for item in items:
        if CHECKOUT / "tests" / "e2e" in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder of the checkout."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of a run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def _pip_cache(shared: Path) -> str:
    """What pip fetches is fetched once a run, wherever the tests' home is."""
    return os.environ.get("PIP_CACHE_DIR") or str(shared / "pip-cache")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, _pip_cache: str) -> Iterator[Path]:
    """An empty home folder for each test; the XDG folders lie below it."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("LOCAL_OPUS_", "XDG_")):
                patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("PIP_CACHE_DIR", _pip_cache)
        patch.setenv("COLUMNS", "100")
        patch.setenv("NO_COLOR", "1")
        patch.setenv("TERM", "dumb")
        yield folder
