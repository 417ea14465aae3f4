"""What a receipt says of the store is believed within the store, and nowhere else."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from builders import wheel_model
from fakes import FakeHost
from local_opus import planner, receipts, state
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.errors import LocalOpusError
from local_opus.history import Event
from local_opus.host import locks
from local_opus.journal import Journal
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import uninstall
from local_opus.values import Scope

MODEL = wheel_model(b"x").model_dump(mode="json")
FETCHES: dict[str, tuple[dict[str, JsonValue], str]] = {
    "elsewhere": ({"model": MODEL, "store": "/home/user/mine"}, "/home/user/mine/tiny"),
    "up and elsewhere": (
        {"model": MODEL, "store": "/home/user/.local/share/local-opus/models/../../mine"},
        "/home/user/.local/share/mine/tiny",
    ),
    "in another folder of the install": (
        {"model": MODEL, "store": "/home/user/.config/local-opus"},
        "/home/user/.config/local-opus/tiny",
    ),
    "that no version knows": ({"shop": "/home/user/mine"}, "/home/user/mine/tiny"),
}


def begun_and_reverted(host: FakeHost, places: Locations, params: dict[str, JsonValue]) -> None:
    """A fetch that has nothing to be taken back any more; the way back still reads it."""
    state.arrive(host, places)
    with locks.exclusive(host.files, places.lock):
        receipt = Receipt(host, places.receipt)
        Applier(Journal(host, receipt, build, places.roots)).ensure(planner.store_folder(places))
        receipt.append(Event.BEGIN, id="weights", kind="fetch_weights", params=params)
        receipt.append(Event.REVERTED, id="weights")


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize(("params", "folder"), FETCHES.values(), ids=FETCHES)
def test_a_fetch_outside_of_the_store_removes_nothing(host, places, purge, params, folder):
    host.files.make_folders(folder)
    begun_and_reverted(host, places, params)
    uninstall(host, places, purge=purge, tell=QuietReporter())
    assert host.files.stat(folder) is not None
    assert host.files.stat(places.state) is None


def test_the_empty_folder_of_a_fetch_into_the_store_goes(host, places):
    begun_and_reverted(host, places, {"model": MODEL, "store": places.models})
    host.files.make_folders(f"{places.models}/tiny/.partial")
    uninstall(host, places, purge=False, tell=QuietReporter())
    assert host.files.list("/home/user") == []


@pytest.mark.parametrize("purge", [False, True])
def test_a_damaged_receipt_that_was_set_aside_stays_and_is_named(host, places, purge):
    begun_and_reverted(host, places, {"model": MODEL, "store": places.models})
    with host.files.open_append(places.receipt) as stream:
        stream.write(b"garbage\n")
    with locks.exclusive(host.files, places.lock):
        saved = receipts.salvage(host, places.receipt)
    assert saved is not None
    assert saved.aside == f"{places.receipt}.damaged-1"
    removed = uninstall(host, places, purge=purge, tell=QuietReporter())
    assert [line.partition(":")[0] for line in removed.kept] == [f"{places.receipt}.damaged-1"]
    assert host.files.list(places.state) == ["receipt.jsonl.damaged-1"]


def test_what_was_set_aside_is_named_until_it_is_removed(host, places):
    host.files.make_folders(places.state)
    host.files.write_atomic(f"{places.receipt}.damaged-1", b"x")
    removed = uninstall(host, places, purge=False, tell=QuietReporter())
    assert len(removed.kept) == 1
    assert host.files.list(places.state) == ["receipt.jsonl.damaged-1"]


ELSEWHERE: dict[str, dict[str, JsonValue]] = {
    "start_server": {"scope": "system", "command": ["x"], "inputs_sha256": "0" * 64},
    "enable_service": {"scope": "system", "inputs_sha256": "0" * 64},
}


@pytest.mark.parametrize(("kind", "params"), ELSEWHERE.items(), ids=ELSEWHERE)
def test_a_server_of_another_scope_is_not_touched(host, places, kind, params):
    host.services.runs = True
    host.services.values |= {"LoadState": "loaded", "ActiveState": "active", "MainPID": "7"}
    log = locate(Scope.SYSTEM, {}).server_log
    host.files.make_folders(log.rpartition("/")[0])
    host.files.write_atomic(log, b"theirs")
    state.arrive(host, places)
    receipt = Receipt(host, places.receipt)
    receipt.append(Event.BEGIN, id="server", kind=kind, params=params, data={"before": {}})
    with pytest.raises(LocalOpusError, match="of the scope system, in a receipt of the scope user"):
        uninstall(host, places, purge=False, tell=QuietReporter())
    assert host.files.read_text(log) == "theirs"
    assert host.services.verbs == []
