"""What somebody else put into the store stops no way back."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import planner, state
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.host import locks
from local_opus.journal import Journal
from local_opus.locations import locate
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import uninstall
from local_opus.values import Scope


@pytest.mark.parametrize("purge", [False, True])
def test_a_file_beside_the_models_is_somebody_elses(tmp_path: Path, purge: bool) -> None:
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    state.arrive(host, places)
    with locks.exclusive(host.files, places.lock):
        receipt = Receipt(host, places.receipt)
        Applier(Journal(host, receipt, build, places.roots)).ensure(planner.store_folder(places))
    host.files.write_atomic(f"{places.models}/README.txt", b"theirs")
    removed = uninstall(host, places, purge=purge, tell=QuietReporter())
    assert host.files.read_text(f"{places.models}/README.txt") == "theirs"
    assert [line for line in removed.kept if places.models in line and "README.txt" in line]
    assert host.files.stat(places.state) is None


def test_a_purge_without_a_receipt_lets_no_other_run_come_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "root/home/user/.local/share").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    host.files.make_folders(f"{places.models}/tiny/.partial/x")
    place = os.open(f"{host.root}/home/user/.local", os.O_RDONLY)
    real = host.files.remove_tree
    held = []

    def remove_tree(path: str) -> None:
        with pytest.raises(BlockingIOError):
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(path)
        real(path)

    host.files.remove_tree = remove_tree  # type: ignore[method-assign]
    try:
        assert uninstall(host, places, purge=True, tell=QuietReporter()).nothing
    finally:
        os.close(place)
    assert held == [f"{places.models}/tiny"]


@pytest.mark.parametrize("purge", [False, True])
def test_a_file_in_the_place_of_the_store_is_kept(tmp_path: Path, purge: bool) -> None:
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    with state.held(host, places):
        receipt = Receipt(host, places.receipt)
        Applier(Journal(host, receipt, build, places.roots)).ensure(planner.store_folder(places))
    host.files.remove_folder(places.models)
    host.files.write_atomic(places.models, b"theirs")
    removed = uninstall(host, places, purge=purge, tell=QuietReporter())
    assert removed.kept == [f"{places.models}: a file took its place"]
    assert host.files.stat(places.state) is None
    assert host.files.read_text(places.models) == "theirs"
