"""What a receipt says of the manifests in the store, after each way in which it can come about."""

from __future__ import annotations

import os

import pytest

from builders import wheel_model
from fakes import FakeHost
from local_opus import attested
from local_opus.actions import build
from local_opus.attested import Attestation, Attested
from local_opus.history import Event, Record
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.values import Trust
from local_opus.weights import manifest as manifests
from nobody import as_nobody, folder_of_nobody

ONE, TWO = "1" * 64, "2" * 64
NOT_HELD = Attestation(None, "the receipt does not hold its digest")
UNFINISHED = Attestation(None, "the last run that wrote it did not come to its end")


@pytest.fixture
def receipt(host: FakeHost, places: Locations) -> Receipt:
    host.files.make_folders(places.state)
    return Receipt(host, places.receipt)


def params(places: Locations) -> dict[str, object]:
    return {"model": wheel_model(b"x").model_dump(mode="json"), "store": places.models}


def folder(places: Locations) -> str:
    return f"{places.models}/tiny/gguf-q4_1"


def lay(host: FakeHost, places: Locations) -> str:
    """Put a manifest into the store; return its digest."""
    host.files.make_folders(folder(places))
    file = manifests.ManifestFile(
        path="a", size=1, sha256=ONE, blake3=ONE, trust=Trust.PINNED,
        origin=manifests.WheelOrigin(requirement="a==1", member="a"),
    )  # fmt: skip
    listed = manifests.Manifest(model="tiny", variant="v", created_by="t", files=(file,))
    return manifests.write(host, folder(places), listed)


Step = tuple[Event, str, dict[str, object]]
BEGIN: Step = (Event.BEGIN, "weights", {})
PULL: Step = (Event.BEGIN, "pulled:tiny", {"outside": True})


def done(sha256: object, id_: str = "weights") -> Step:
    return Event.DONE, id_, {"manifest_sha256": sha256}


def was_there(sha256: str) -> Step:
    return Event.PREEXISTING, "weights", {"manifest_sha256": sha256}


WAYS: dict[str, tuple[list[Step], Attestation]] = {
    "nothing": ([], NOT_HELD),
    "an install": ([BEGIN, done(ONE)], Attestation(ONE, "")),
    "a pull": ([PULL, done(ONE, "pulled:tiny")], Attestation(ONE, "")),
    "a pull after an install": ([BEGIN, done(TWO), PULL, done(ONE, "pulled:tiny")], Attestation(ONE, "")),
    "a killed install": ([BEGIN], UNFINISHED),
    "a killed repair of another manifest": ([BEGIN, done(ONE), BEGIN], UNFINISHED),
    "a run that was taken back": ([BEGIN, done(ONE), (Event.REVERTED, "weights", {})], Attestation(ONE, "")),
    "an upgrade that was taken back": ([BEGIN, done(TWO), BEGIN, done(ONE), (Event.RESTORED, "weights", {})], Attestation(ONE, "")),
    "a removed model": ([PULL, done(ONE, "pulled:tiny"), (Event.REVERTED, "pulled:tiny", {})], NOT_HELD),
    "of an older program": ([BEGIN, (Event.DONE, "weights", {})], NOT_HELD),
    "no digest at all": ([BEGIN, done("../x")], NOT_HELD),
    "was there": ([was_there(ONE)], Attestation(ONE, "")),
    "was there, and was changed before the next run": ([was_there(ONE), was_there(TWO)], Attestation(ONE, "")),
    "was there, noted by an older program": ([(Event.PREEXISTING, "weights", {})], NOT_HELD),
}  # fmt: skip


@pytest.mark.parametrize(("steps", "says"), WAYS.values(), ids=WAYS.keys())
def test_what_it_says(host, places, receipt, steps, says):
    lay(host, places)
    for event, id_, data in steps:
        kind = "fetch_weights" if event in {Event.BEGIN, Event.PREEXISTING} else ""
        receipt.append(event, id=id_, kind=kind, params=params(places) if kind else {}, data=data)
    assert Attested(host, places).of(folder(places)) == says


def test_a_killed_repair_that_changed_nothing_leaves_it_attested(host, places, receipt):
    digest = lay(host, places)
    for event, id_, data in (BEGIN, done(digest), BEGIN):
        kind = "fetch_weights" if event is Event.BEGIN else ""
        receipt.append(event, id=id_, kind=kind, params=params(places) if kind else {}, data=data)
    assert Attested(host, places).of(folder(places)) == Attestation(digest, "")


def test_what_is_not_in_this_store_counts_for_nothing(host, places, receipt):
    elsewhere = {**params(places), "store": "/etc"}
    receipt.append(Event.BEGIN, id="weights", kind="fetch_weights", params=elsewhere)
    receipt.append(Event.DONE, id="weights", data={"manifest_sha256": ONE})
    assert Attested(host, places).of("/etc/tiny/gguf-q4_1") == NOT_HELD


def test_no_receipt_is_told(host, places):
    assert Attested(host, places).of(folder(places)) == NOT_HELD


def test_a_damaged_receipt_is_told(host, places, receipt):
    receipt.append(Event.RUN)
    host.files.write_atomic(places.receipt, b"{}\n", mode=0o600)
    said = Attested(host, places).of(folder(places))
    assert said.sha256 is None
    assert places.receipt in said.why


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a receipt of root's")
def test_a_receipt_of_root_is_told_to_others(places):
    with folder_of_nobody() as top:
        (top / "root/home/user").mkdir(parents=True)
        host = FakeHost(top / "root")
        host.files.make_folders(places.state)
        Receipt(host, places.receipt).append(Event.RUN)

        def look() -> None:
            said = Attested(FakeHost(top / "root"), places).of(folder(places))
            assert said.sha256 is None
            assert said.why == f"{places.receipt} can't be read: permission denied"

        as_nobody(look)


def test_its_folders_are_those_of_the_actions(places):
    """It knows what they are called without the actions themselves."""
    for kind, more in (("fetch_weights", {}), ("convert_weights", {"device": "GPU"})):
        action = build(kind, {**params(places), **more})
        record = Record(
            n=1, at="", event=Event.BEGIN, kind=kind, params=action.model_dump(mode="json")
        )
        assert attested._folder(record, places) == action.folder()
        assert kind in attested._KINDS
