"""One real install a run; the other tests start from copies of what it made."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkout_tree import Tree
from fetching import HASTY, host_for
from first_parts import Parts, locked
from node_program import MODEL, FirstInstall, Program, copy_checkout
from node_program import tree as tree_of

import memory
from hub import Hub
from local_opus.host import Host
from local_opus.weights.sources import web


@pytest.fixture(scope="session")
def checkout_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that nobody edits while the tests run."""
    return copy_checkout(tmp_path_factory.mktemp("checkout") / "local opus")


@pytest.fixture(scope="session")
def first_install(
    checkout_copy: Path, tmp_path_factory: pytest.TempPathFactory, _pip_cache: str, shared: Path
) -> Iterator[FirstInstall]:
    """A real install: environment through pip, model fetched and converted, server started."""
    program = Program(checkout_copy, tmp_path_factory.mktemp("first") / "home", _pip_cache)
    try:
        # A home in use: folders with modes of their own, that an install goes through.
        for name, mode in ((".config", 0o700), (".local/bin", 0o750), ("Documents", 0o711)):
            (program.home / name).mkdir(parents=True)
            (program.home / name).chmod(mode)
        (program.home / ".local/bin/mine").write_text("#!/bin/sh\n")
        before = tree_of(program.home)
        with locked(shared):
            begin = time.monotonic()
            said = program.install().stdout
            seconds = time.monotonic() - begin
            Parts(shared).keep(program)
        yield FirstInstall(program, before, said, seconds)
    finally:
        program.end_all()


@pytest.fixture(scope="session")
def parts(shared: Path, request: pytest.FixtureRequest) -> Parts:
    """The environment and the store of a first install, of whichever process made one."""
    found = Parts(shared)
    with locked(shared):
        there = found.are_there()
    if not there:
        request.getfixturevalue("first_install")
    return found


@pytest.fixture(scope="module")
def seeded(
    parts: Parts, checkout_copy: Path, tmp_path_factory: pytest.TempPathFactory, _pip_cache: str
) -> Iterator[Callable[..., Program]]:
    """Make a home in which the environment is there already, and the parts of the store asked for.

    Environments are named by a digest of what goes into them, so this one is `preexisting`.
    """
    made: list[Program] = []

    def make(*variants: str) -> Program:
        program = Program(checkout_copy, tmp_path_factory.mktemp("home"), _pip_cache)
        made.append(program)
        program.prefix.mkdir(parents=True)
        environment = parts.environment
        target = program.prefix / environment.name
        subprocess.run(["cp", "-al", str(environment), str(target)], check=True)
        for variant in variants:
            folder = program.prefix / "models" / MODEL
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["cp", "-a", str(parts.models / MODEL / variant), str(folder)], check=True
            )
        return program

    yield make
    for program in made:
        program.end_all()


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that other users can enter, unlike pytest's own."""
    folder = memory.new_folder(64 * 1024 * 1024)
    folder.chmod(0o755)
    yield folder
    memory.remove(folder)


@pytest.fixture
def tree(top: Path) -> Tree:
    """A small checkout of the bootstrap's tests."""
    return Tree(top)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A package index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


@pytest.fixture
def broken_profile(tmp_path: Path) -> Path:
    """The file of a profile whose server does not come up."""
    profile = tmp_path / "broken.toml"
    # f32 can't hold OpenVINO's key cache where value precision is another: the engine refuses.
    profile.write_text(
        'name = "broken"\ndescription = "can not start"\nextends = "local-opus"\n'
        '[openvino]\nkv_cache_precision = "u3"\n'
    )
    return profile


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub on loopback."""
    with Hub() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, hub: Hub) -> Host:
    """A host below an empty root, which knows that hub."""
    return host_for(hub, tmp_path / "root")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have downloads wait a moment where they would wait for minutes, and ask no proxy."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(web, "PATIENT", HASTY)
