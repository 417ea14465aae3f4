"""What an install measured of its models, read back from receipt and tuning."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import picking, sealed
from local_opus.devices.ranking import Measured
from local_opus.errors import LocalOpusError
from local_opus.history import Event
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt
from local_opus.values import Scope
from local_opus.values.tuning import Chosen, Goal, Speed, Tried, Tuned, TunedFor

RUN = {"model": "tiny", "device": "GPU", "device_name": "GPU.1"}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root").mkdir()
    return FakeHost(tmp_path / "root")


@pytest.fixture
def places(host: FakeHost) -> Locations:
    return locate(Scope.USER, host.environ)


def write(
    host: FakeHost, places: Locations, *runs: tuple[dict[str, object], dict[str, object]]
) -> None:
    host.files.make_folders(places.state)
    receipt = Receipt(host, places.receipt)
    for run, result in runs:
        receipt.append(Event.RUN, data=run)
        receipt.append(Event.FINISHED, data=result)


def rates(host: FakeHost, places: Locations) -> list[tuple[str, str, float]]:
    found = picking.installed(host, places).measured
    return [(one.device, one.model, one.tokens_per_second) for one in found]


def test_without_an_install_nothing_was_measured(host, places):
    assert picking.installed(host, places).measured == ()


def test_each_finished_run_measured_once(host, places):
    write(
        host,
        places,
        (RUN, {"tokens_per_second": 12.5}),
        ({**RUN, "device_name": "GPU.0"}, {"tokens_per_second": 4}),
    )
    assert rates(host, places) == [("GPU.1", "tiny", 12.5), ("GPU.0", "tiny", 4.0)]
    first, second = picking.installed(host, places).measured
    assert isinstance(first, Measured)
    assert first.when <= second.when


def test_an_older_receipt_names_the_kind_alone(host, places):
    write(host, places, ({"model": "tiny", "device": "CPU"}, {"tokens_per_second": 7.5}))
    assert rates(host, places) == [("CPU", "tiny", 7.5)]


@pytest.mark.parametrize(
    ("run", "result"),
    [
        (RUN, {}),
        (RUN, {"tokens_per_second": None}),
        (RUN, {"tokens_per_second": "12"}),
        (RUN, {"tokens_per_second": True}),
        (RUN, {"tokens_per_second": 0}),
        (RUN, {"tokens_per_second": -1}),
        ({**RUN, "device_name": "../x"}, {"tokens_per_second": 3}),
        ({**RUN, "device_name": 3}, {"tokens_per_second": 3}),
        ({"model": None, "device": None}, {"tokens_per_second": 3}),
        ({}, {"tokens_per_second": 3}),
    ],
)
def test_what_is_no_measurement_is_left_out(host, places, run, result):
    write(host, places, (run, result))
    assert picking.installed(host, places).measured == ()


def test_a_receipt_that_is_closed_to_this_user_measures_nothing(host, places, monkeypatch):
    write(host, places, (RUN, {"tokens_per_second": 12.5}))

    def closed(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(host.files, "read_bytes", closed)
    assert picking.installed(host, places).measured == ()


def test_a_damaged_receipt_is_told(host, places):
    write(host, places, (RUN, {"tokens_per_second": 12.5}))
    text = host.files.read_text(places.receipt)
    host.files.write_atomic(places.receipt, text.replace("12.5", "99.5").encode())
    with pytest.raises(LocalOpusError):
        picking.installed(host, places)


FOR = TunedFor(model="tiny", weights_sha256="ab" * 32, device="GPU.1", device_name="Arc", driver=None, openvino="2026.4.1")  # fmt: skip


def speed(rate: float) -> Speed:
    return Speed(tokens_per_second=rate / 2, decode_tokens_per_second=rate, first_token_seconds=1, load_seconds=1, peak_bytes=1)  # fmt: skip


def tuned_file(*tried: Tried, model: str | None = "tiny", goal: Goal = "latency") -> Tuned:
    return Tuned(tuned_for=FOR.model_copy(update={"model": model}), goal=goal, base={}, chosen=Chosen(), tried=list(tried), seconds=1, at="2099-01-01T00:00:00Z")  # fmt: skip


KEPT = Tried(setting="a", speed=speed(14), kept=True, why="")
LEFT = Tried(setting="b", speed=speed(9), why="")


@pytest.mark.parametrize(
    ("found", "rate"),
    [
        (tuned_file(KEPT, LEFT), 14),
        (tuned_file(LEFT), None),
        (tuned_file(KEPT, goal="throughput"), None),
        (tuned_file(), None),
        (tuned_file(KEPT, model=None), None),
        (tuned_file(Tried(setting="c", speed=speed(0), kept=True, why="")), None),
    ],
)
def test_what_tuning_measured_is_the_last_word(host, places, found, rate):
    write(host, places, (RUN, {"tokens_per_second": 12.5}))
    host.files.make_folders(places.config)
    host.files.write_atomic(f"{places.config}/tuned.json", sealed.dump(found))
    told = [("GPU.1", "tiny", 12.5)] + ([("GPU.1", "tiny", rate)] if rate else [])
    assert rates(host, places) == told


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", sealed.dump(tuned_file(KEPT)).replace(b"14.0", b"99.0")])  # fmt: skip
def test_a_tuned_file_that_is_not_as_it_was_written_measures_nothing(host, places, data):
    write(host, places, (RUN, {"tokens_per_second": 12.5}))
    host.files.make_folders(places.config)
    host.files.write_atomic(f"{places.config}/tuned.json", data)
    assert rates(host, places) == [("GPU.1", "tiny", 12.5)]
