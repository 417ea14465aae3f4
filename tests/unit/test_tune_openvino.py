"""The action that tunes: what it writes and takes back, what it holds for, and that it never fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes import FakeHost
from local_opus.actions import build
from local_opus.actions.base import Record, State
from local_opus.actions.tune_openvino import TuneOpenvino
from local_opus.errors import LocalOpusError
from local_opus.journal import Journal
from local_opus.receipts import Receipt
from local_opus.tuning import Outcome, tuned, tuner
from local_opus.values.tuning import Chosen, Tuned, TuningOrder

PATH = "/etc/local-opus/tuned.json"
ORDER = TuningOrder(
    goal="latency", seconds=30, settings=(), device="CPU", device_name="A CPU", driver=None,
    openvino="2026.4.1", base={"PERFORMANCE_HINT": "LATENCY"}, model=None,
)  # fmt: skip
CHOSEN = Chosen(properties={"INFERENCE_NUM_THREADS": 4})


def result(host: FakeHost, order: TuningOrder = ORDER, chosen: Chosen = CHOSEN) -> Tuned:
    return tuner.result(host, order, order.holds_for(None), Outcome(chosen=chosen), 1.0)


def action(order: TuningOrder = ORDER, **more: Any) -> TuneOpenvino:
    return TuneOpenvino(path=PATH, order=order, **more)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    found = FakeHost(tmp_path)
    found.files.make_folders("/etc/local-opus")
    monkeypatch.setattr(tuner, "tune", lambda host, order, tell: result(host, order))
    return found


def do(host: FakeHost, todo: TuneOpenvino) -> tuple[Record, Record]:
    before = todo.capture(host)
    return before, todo.execute(host, before, lambda _step, _done, _total: None)


def test_it_writes_what_was_chosen_and_the_receipt_holds_its_digest(host):
    before, after = do(host, action())
    data = host.files.read_bytes(PATH)
    there = tuned.parse(data.decode(), PATH)
    assert there.chosen == CHOSEN
    assert after["chosen"] == CHOSEN.model_dump()
    assert host.files.stat(PATH).mode == 0o600
    assert before == {"existed": False}
    assert action().inspect(host).state is State.PRESENT
    assert action().edited(host, after) is None


def test_it_survives_the_receipt(host):
    for todo in (action(), action(result=result(host))):
        made = build("tune_openvino", todo.model_dump(mode="json"))
        assert made == todo


def test_revert_takes_it_back(host):
    before, after = do(host, action())
    assert action().revert(host, before, after).kept is None
    assert host.files.stat(PATH) is None


def test_revert_puts_back_what_was_there(host):
    do(host, action())
    first = host.files.read_bytes(PATH)
    second = action(result=result(host, chosen=Chosen()))
    before, after = do(host, second)
    assert host.files.read_bytes(PATH) != first
    second.revert(host, before, after)
    assert host.files.read_bytes(PATH) == first


def test_an_edited_file_is_kept(host):
    before, after = do(host, action())
    text = host.files.read_text(PATH).replace('"INFERENCE_NUM_THREADS": 4', '"INFERENCE_NUM_THREADS": 3')  # fmt: skip
    host.files.write_atomic(PATH, text.encode(), mode=0o600)
    assert action().edited(host, after) == f"{PATH}: edited since it was written"
    assert action().revert(host, before, after).kept is not None
    assert host.files.read_text(PATH) == text
    assert action().inspect(host).state is State.PRESENT


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"schema_version": 1}'])
def test_nonsense_in_its_place_is_an_edit(host, content):
    before, after = do(host, action())
    host.files.write_atomic(PATH, content, mode=0o600)
    assert action().inspect(host).state is State.DIFFERENT
    assert "edited" in (action().edited(host, after) or "")
    action().revert(host, before, after)
    assert host.files.read_bytes(PATH) == content


def test_a_kill_between_file_and_record_leaves_no_edit(host):
    before, _ = do(host, action())
    assert action().edited_meanwhile(host, before) is None
    host.files.write_atomic(PATH, b"mine", mode=0o600)
    assert action().edited_meanwhile(host, before) is not None


@pytest.mark.parametrize(
    "change",
    [{"openvino": "2027.0.0"}, {"driver": "1.2"}, {"device_name": "Another"}, {"device": "GPU"}],
)
def test_another_version_or_device_is_tuned_anew(host, change):
    do(host, action())
    other = action(ORDER.model_copy(update=change))
    assert other.inspect(host).state is State.DIFFERENT
    assert not other.covers(action())


@pytest.mark.parametrize(
    ("change", "covered"),
    [
        ({}, True),
        ({"seconds": 180}, True),
        ({"memory": 5}, True),
        ({"goal": "throughput"}, False),
        ({"base": {}}, False),
    ],
)
def test_what_an_earlier_one_covers(change, covered):
    assert action(ORDER.model_copy(update=change)).covers(action()) is covered


def test_whoever_ran_tune_chose_the_goal(host):
    many = ORDER.model_copy(update={"goal": "throughput"})
    by_hand = action(many, result=result(host, many))
    assert action().covers(by_hand)
    assert not by_hand.covers(action())
    assert not by_hand.covers(by_hand)


@pytest.mark.parametrize(
    "error",
    [LocalOpusError("no device", "r"), OSError(28, "No space left on device", "/tmp/x")],
)
def test_what_fails_is_a_result_and_the_defaults_stay(host, monkeypatch, error):
    monkeypatch.undo()

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(tuner, "require_memory", fails)
    _, after = do(host, action())
    there = tuned.parse(host.files.read_text(PATH), PATH)
    assert there.chosen.is_default
    assert str(error.args[-1] if isinstance(error, OSError) else error.message) in str(
        there.problem
    ) or "no space left" in str(there.problem)
    assert after["problem"] == there.problem


def test_where_memory_lacks_for_two_nothing_is_measured(host, monkeypatch):
    monkeypatch.undo()
    host.files.make_folders("/proc")
    host.files.write_atomic("/proc/meminfo", b"MemTotal: 900000 kB\nMemAvailable: 700000 kB\n", mode=0o644)  # fmt: skip
    found = tuner.tune(host, ORDER)
    assert "side by side" in str(found.problem)
    assert found.chosen.is_default


def test_an_interrupt_goes_through(host, monkeypatch):
    monkeypatch.undo()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner, "require_memory", interrupted)
    with pytest.raises(KeyboardInterrupt):
        do(host, action())
    assert host.files.stat(PATH) is None


def test_it_stays_within_the_folders_of_an_install(host):
    journal = Journal(host, Receipt(host, "/receipt.jsonl"), build, ("/opt/local-opus",))
    with pytest.raises(LocalOpusError, match="outside of the folders"):
        journal.make("tune_openvino", action().model_dump(mode="json"))


def test_its_words():
    assert action().summary() == (
        "tune OpenVINO on CPU for latency, measured with a generated graph (30 s at most)"
    )
