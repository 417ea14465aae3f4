"""What an install measured of its models, read back from receipt and tuning."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import picking
from local_opus.devices.ranking import Measured
from local_opus.errors import LocalOpusError
from local_opus.history import Event
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt
from local_opus.values import Scope

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
