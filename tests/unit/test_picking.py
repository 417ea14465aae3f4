"""The same words lead to the same model again, whatever room its server leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_catalog_fit import gpu, machine

from fakes import FakeHost
from local_opus import picking, profiles
from local_opus.devices.ranking import Measured
from local_opus.errors import MachineCannotError
from local_opus.locations import locate
from local_opus.picking import Installed, Served, pick_model
from local_opus.profiles import Profile
from local_opus.values import Device, HostFacts, Scope

MODEL = "qwen3-8b-int4-ov"
RUN = {"profile": "local-opus", "model": MODEL, "device": "GPU", "device_name": "GPU.1",
       "device_asked": None, "use_case": "chat"}  # fmt: skip
GPUS = (gpu(15, "INTEGRATED", name="GPU.0"), gpu(12, "DISCRETE", name="GPU.1"))
ROOMY = machine(memory=32, devices=GPUS)
#: The server holds the card's and the machine's memory.
FULL = machine(memory=2, devices=(GPUS[0], gpu(0.5, "DISCRETE", name="GPU.1")))


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root").mkdir()
    return FakeHost(tmp_path / "root")


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picking, "is_stored", lambda *_: True)


def profile(use_case: str = "chat", device: str = "auto") -> Profile:
    found = profiles.load("local-opus", lambda path: path)
    model = found.model.model_copy(update={"use_case": use_case, "device": device})
    return found.model_copy(update={"model": model})


def pick(host: FakeHost, facts: HostFacts, run: dict[str, object], *measured: Measured,
         model: str | None = None, device: str | None = None, use_case: str = "chat") -> Served:  # fmt: skip
    before = Installed(run, measured)  # type: ignore[arg-type]
    places = locate(Scope.USER, host.environ)
    return pick_model(host, places, profile(use_case), facts, model, device, before=before)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("words", "run"),
    [
        ({}, RUN),
        ({"model": MODEL}, RUN),
        ({"model": MODEL, "device": "GPU"}, {**RUN, "device_asked": "GPU"}),
        ({"model": MODEL, "device": "GPU.1"}, {**RUN, "device_asked": "GPU.1"}),
        ({"device": "GPU"}, {**RUN, "device_asked": "GPU"}),
        ({"use_case": "coding"}, {**RUN, "use_case": "coding"}),
    ],
)
def test_the_same_words_lead_to_the_same_model(host, words, run):
    found = pick(host, FULL, run, **words)
    assert (found.model.id, found.device, found.device_name) == (MODEL, Device.GPU, "GPU.1")
    assert found.reasons


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("words", "run"),
    [
        ({"use_case": "coding"}, RUN),
        ({"device": "CPU"}, RUN),
        ({"device": "GPU.0"}, RUN),
        ({"model": "smollm2-135m"}, RUN),
        ({}, {**RUN, "profile": "hybrid"}),
        ({}, {key: RUN[key] for key in ("profile", "model", "device")}),  # of an older version
        ({}, {**RUN, "device_name": "GPU.7"}),
        ({}, {**RUN, "device_name": 7}),
        ({}, {**RUN, "model": "gone"}),
        ({}, {}),
    ],
)
def test_other_words_lead_to_another_choice(host, words, run):
    found = pick(host, FULL, run, **words)
    assert (found.model.id, found.device_name) != (MODEL, "GPU.1")


def test_a_model_that_is_not_in_the_store_must_fit(host):
    with pytest.raises(MachineCannotError, match=r"needs about .* GiB memory"):
        pick(host, FULL, RUN, model=MODEL)
    assert pick(host, ROOMY, RUN, model=MODEL).device_name == "GPU.1"


def on(name: str, rate: float) -> Measured:
    return Measured(device=name, model=MODEL, tokens_per_second=rate, when="2026-11-30T00:00:00Z")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("measured", "asked", "name"),
    [
        ([on("GPU.1", 3)], None, "GPU.1"),
        ([on("GPU.1", 3), on("GPU.0", 9)], None, "GPU.0"),
        ([on("GPU.1", 3), on("CPU", 9)], None, "CPU"),
        ([on("GPU.0", 3), on("CPU", 9)], None, "GPU.1"),
        ([on("GPU.1", 3), on("GPU.0", 9)], "GPU.1", "GPU.1"),
        ([on("GPU.1", 3), on("NPU", 9)], None, "GPU.1"),
    ],
)
def test_measurement_moves_it_to_the_faster_device(host, measured, asked, name):
    run = {**RUN, "device_asked": asked}
    assert pick(host, ROOMY, run, *measured, device=asked).device_name == name


def test_what_the_profile_names_is_asked_for():
    assert picking.asked_device(profile(device="GPU.1"), None) == "GPU.1"
    assert picking.asked_device(profile(device="GPU.1"), "CPU") == "CPU"
    assert picking.asked_device(profile(), None) is None
