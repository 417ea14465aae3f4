"""The folder of receipt and lock: whole or not there, wherever a run was killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import state
from local_opus.errors import LocalOpusError
from local_opus.history import Event
from local_opus.host import Files, locks
from local_opus.locations import Locations
from local_opus.receipts import Receipt

HOME = "/home/user"
#: What changes a file system, through which a run may be killed.
CHANGES = ("make_folder", "make_folders", "open_append", "open_in_place", "rename", "remove",
           "remove_folder", "remove_tree", "sync")  # fmt: skip


class KilledError(BaseException):
    """Stands for the end of the process: no handler of the program catches it."""


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root/home/user/.local").mkdir(parents=True)
    return FakeHost(tmp_path / "root")


def tree(host: FakeHost) -> list[str]:
    return sorted(path for path, _ in host.files.walk(HOME, folders=True))


def come(host: FakeHost, places: Locations) -> None:
    state.arrive(host, places)


def go(host: FakeHost, places: Locations) -> None:
    state.recover(host, places)
    if host.files.stat(places.state) is not None:
        with locks.exclusive(host.files, places.lock):
            state.leave(host, places, Receipt(host, places.receipt))


def killed_at(monkeypatch: pytest.MonkeyPatch, at: int, run: Callable[[], None]) -> bool:
    """Run until the change number ``at``; return whether it came so far."""
    count = 0
    with monkeypatch.context() as patch:
        for name in CHANGES:
            real = getattr(Files, name)

            def change(self, *words, _real=real, **more):  # type: ignore[no-untyped-def]
                nonlocal count
                count += 1
                if count == at:
                    raise KilledError
                return _real(self, *words, **more)

            patch.setattr(Files, name, change)
        try:
            run()
        except KilledError:
            return True
    return False


def test_it_comes_with_a_receipt_that_names_the_folders_made(host, places):
    come(host, places)
    (record,) = Receipt(host, places.receipt).records
    assert (record.event, record.data) == (
        Event.RUN,
        {"made": [f"{HOME}/.local/state", f"{HOME}/.local/state/local-opus"]},
    )


def test_a_folder_that_is_there_stays_as_it_is(host, places):
    host.files.make_folders(places.state, mode=0o700)
    before = tree(host)
    come(host, places)
    assert tree(host) == before
    with locks.exclusive(host.files, places.lock):
        receipt = Receipt(host, places.receipt)
        receipt.append(Event.RUN)
        state.leave(host, places, receipt)
    assert tree(host) == before


def test_it_goes_with_all_that_was_made_for_it(host, places):
    before = tree(host)
    come(host, places)
    go(host, places)
    assert tree(host) == before


def test_what_others_put_into_its_folders_stays(host, places):
    come(host, places)
    host.files.write_atomic(f"{HOME}/.local/state/theirs", b"x")
    go(host, places)
    assert tree(host) == [".local", ".local/state", ".local/state/theirs"]


def test_what_others_put_beside_the_receipt_stays(host, places):
    come(host, places)
    host.files.write_atomic(f"{places.state}/theirs", b"x")
    go(host, places)
    assert tree(host)[-1] == ".local/state/local-opus/theirs"
    assert host.files.list(places.state) == ["theirs"]


@pytest.mark.parametrize("then", ["again", "back"])
def test_killed_anywhere_on_its_way_it_comes_or_goes_whole(host, places, monkeypatch, then):
    before = tree(host)
    points = 0
    for step in (come, go):
        at = 1
        while True:
            if step is go:
                come(host, places)
            if not killed_at(monkeypatch, at, lambda step=step: step(host, places)):
                break
            points += 1
            if then == "again":
                step(host, places)
            if step is come and then == "again":
                assert Receipt(host, places.receipt).records[0].data["made"]
            go(host, places)
            assert tree(host) == before, (step.__name__, at)
            at += 1
        go(host, places)
    assert points > 15


def test_a_run_that_is_leaving_is_named(host, places):
    come(host, places)
    leaving = f"{HOME}/.local/{state.LEAVING}"
    host.files.rename(places.state, leaving)
    with (
        locks.exclusive(host.files, f"{leaving}/lock"),
        pytest.raises(LocalOpusError, match=rf"another run .*PID {host.pid}"),
    ):
        come(host, places)


def test_a_hostile_receipt_names_no_folder_elsewhere(host, places):
    host.files.make_folders("/home/user/empty")
    come(host, places)
    receipt = Receipt(host, places.receipt)
    receipt.append(Event.RUN, data={"made": ["/home/user/empty", "/home", "/home/user/../user"]})
    with locks.exclusive(host.files, places.lock):
        state.leave(host, places, receipt)
    assert host.files.stat("/home/user/empty") is not None


def test_a_lock_whose_file_was_removed_is_taken_anew(host, places):
    """The one that waited at the old file must not hold a lock that nobody else sees."""
    come(host, places)
    real = host.files.open_append
    calls = []

    def open_append(path: str, **more: int) -> object:
        stream = real(path, **more)
        if not calls:
            host.files.remove(path)  # its last holder came to its end just now
        calls.append(path)
        return stream

    host.files.open_append = open_append
    with locks.exclusive(host.files, places.lock):
        assert len(calls) == 2
        assert host.files.read_text(places.lock) == f"{host.pid}\n"


def other_run_goes_after(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Another run takes all back once, right after this one did ``name``."""
    real = getattr(state, name)
    calls = []

    def step(host: FakeHost, places: Locations) -> None:
        real(host, places)
        calls.append(name)
        if len(calls) == 1:
            go(host, places)

    monkeypatch.setattr(state, name, step)


def test_what_another_run_took_along_is_made_anew(host, places, monkeypatch):
    come(host, places)
    other_run_goes_after(monkeypatch, "arrive")
    with state.held(host, places):
        assert Receipt(host, places.receipt).records[0].data["made"]
        assert host.files.read_text(places.lock) == f"{host.pid}\n"


def test_what_another_run_took_along_is_not_there(host, places, monkeypatch):
    come(host, places)
    other_run_goes_after(monkeypatch, "recover")
    with state.held_if_there(host, places) as is_there:
        assert not is_there


def test_what_is_there_is_held(host, places):
    come(host, places)
    with (
        state.held_if_there(host, places) as is_there,
        pytest.raises(LocalOpusError, match="another run"),
        state.held(host, places),
    ):
        pass
    assert is_there


def test_no_other_run_comes_where_nothing_is(host, places):
    place = os.open(f"{host.root}{HOME}/.local", os.O_RDONLY)
    try:
        with state.held_if_there(host, places) as is_there:
            assert not is_there
            with pytest.raises(BlockingIOError):  # what an arriving run waits for
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(place)
    assert tree(host) == [".local"]


def test_what_came_while_its_place_was_waited_for_is_held(host, places, monkeypatch):
    real = locks.folder
    calls = []

    def folder(files: Files, path: str) -> object:
        calls.append(path)
        if len(calls) == 1:
            come(host, places)
        return real(files, path)

    monkeypatch.setattr(locks, "folder", folder)
    with state.held_if_there(host, places) as is_there:
        assert is_there
        assert host.files.read_text(places.lock) == f"{host.pid}\n"


def test_one_that_comes_while_another_finishes_leaving(host, places, monkeypatch):
    come(host, places)
    leaving = f"{HOME}/.local/{state.LEAVING}"
    host.files.rename(places.state, leaving)
    real = host.files.open_append

    def open_append(path: str, **more: int) -> object:
        if path == f"{leaving}/lock":
            host.files.remove_tree(leaving)
        return real(path, **more)

    monkeypatch.setattr(host.files, "open_append", open_append)
    state.recover(host, places)
    assert host.files.stat(leaving) is None


def test_one_that_leaves_while_another_comes_to_finish_it(host, places, monkeypatch):
    before = tree(host)
    come(host, places)
    leaving = f"{HOME}/.local/{state.LEAVING}"
    real = host.files.remove_folder

    def remove_folder(path: str) -> None:
        if path == leaving:
            host.files.write_atomic(f"{leaving}/lock", b"7\n")
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(host.files, "remove_folder", remove_folder)
        go(host, places)
    assert host.files.list(leaving) == ["lock"]
    state.recover(host, places)
    assert tree(host) == before
