"""What an upgrade reads from the receipt, and when it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_catalog_fit import gpu, machine

from fakes import FakeHost
from local_opus import __version__, install, upgrade
from local_opus.errors import BadInputError, LocalOpusError, MachineCannotError
from local_opus.history import Entry, Event, History
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.values import Device, HostFacts

RUN = {"program": "0.0.1", "profile": "local-opus", "model": "smollm2-135m", "device": "CPU",
       "port": 8100}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root").mkdir()
    return FakeHost(tmp_path / "root")


def history(**run: object) -> History:
    entry = Entry(id="environment:x", kind="create_environment", params={}, status=Event.DONE,
                  before={}, found={}, after={}, began=1)  # fmt: skip
    facts = {**RUN, **run}
    return History(entries=(entry,), run=facts, last_run=facts, rested=Event.FINISHED, resting=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("records", [[], [Event.RUN], [Event.RUN, Event.FINISHED]])
def test_without_an_environment_nothing_is_installed(host, places, records):
    if records:
        host.files.make_folders(places.state)
    receipt = Receipt(host, places.receipt)
    for event in records:
        receipt.append(event, data=RUN)
    with pytest.raises(LocalOpusError, match="nothing is installed in the scope user"):
        upgrade.installed(host, places)


@pytest.mark.parametrize(
    ("version", "refused"),
    [("0.0.1", False), (__version__, False), ("99.0", True), ("0.1.0.post1", True), ("?", False),
     (None, False)],
)  # fmt: skip
def test_an_older_version_is_refused_unless_it_is_wanted(version, refused):
    upgrade.require_newer(history(program=version), allow_downgrade=True)
    if refused:
        with pytest.raises(BadInputError, match=f"version {version} is installed"):
            upgrade.require_newer(history(program=version), allow_downgrade=False)
    else:
        upgrade.require_newer(history(program=version), allow_downgrade=False)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the upgrade asks for, instead of a plan."""
    found: dict[str, object] = {}

    def prepare(_host, _places, profile, _facts, **wanted):  # type: ignore[no-untyped-def]
        found.update(wanted, profile=profile.name)

    monkeypatch.setattr(install, "prepare", prepare)
    return found


def choose(
    host: FakeHost, places: Locations, found: History, facts: HostFacts | None = None
) -> None:
    upgrade.choose(host, places, facts, found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "device"),
    [
        ({"device": "GPU", "device_name": "GPU.1"}, "GPU.1"),
        ({"device": "GPU", "device_name": "GPU.0"}, "GPU.0"),
        ({"device": "GPU", "device_name": "GPU.2"}, "GPU"),  # it was taken out
        ({"device": "GPU", "device_name": "GPU.1", "device_asked": "GPU"}, "GPU"),
        ({"device": "GPU", "device_name": "GPU.1", "device_asked": "GPU.1"}, "GPU.1"),
        ({"device": "GPU", "device_name": "GPU.2", "device_asked": "GPU.2"}, "GPU"),
        ({"device": "GPU", "device_name": "GPU.1", "device_asked": None}, None),
        ({"device": "GPU"}, "GPU"),  # of an older version: the best of them
        ({"device": "GPU", "device_name": 7}, "GPU"),
        ({"device": "GPU", "device_name": "../x"}, "GPU"),
        ({"device": "CPU", "device_name": "CPU"}, "CPU"),
        ({"device": None, "device_name": None}, None),
    ],
)
def test_a_device_stays_where_it_is_there(host, places, prepared, run, device):
    both = (gpu(15, "INTEGRATED", name="GPU.0"), gpu(12, "DISCRETE", name="GPU.1"))
    choose(host, places, history(**run), machine(devices=both))
    assert prepared["device"] == device


def test_what_was_chosen_stays(host, places, prepared, monkeypatch):
    monkeypatch.setattr(
        host.network, "port_problem", lambda _a, port: "in use" if port < 8103 else None
    )
    choose(host, places, history())
    assert prepared == {
        "profile": "local-opus",
        "model_id": "smollm2-135m",
        "device": Device.CPU,
        "port": 8100,
        "trial_port": 8103,
        "profile_file": None,
        "tune": None,
        "linger": None,
    }


def test_a_receipt_without_a_port_leaves_it_to_the_config(host, places, prepared):
    host.files.make_folders(places.config)
    text = ('{"schema_version": 1, "host": "127.0.0.1", "port": 8222, "max_queue": 1,'
            ' "model_config": "/m", "generation_config": "/g", "openvino_config": "/o"}')  # fmt: skip
    host.files.write_atomic(places.server_config, text.encode())
    choose(host, places, history(port=None))
    assert prepared["port"] == 8222


def test_no_free_port_is_told(host, places, prepared, monkeypatch):
    monkeypatch.setattr(host.network, "port_problem", lambda _address, _port: "in use")
    with pytest.raises(MachineCannotError, match="no free port above 8100"):
        choose(host, places, history())


@pytest.mark.parametrize("file", ["/home/user/gone.toml", "/home/user/broken.toml"])
def test_a_profile_file_that_can_not_be_read_is_named(host, places, prepared, file):
    host.files.make_folders("/home/user")
    host.files.write_atomic("/home/user/broken.toml", b"name = ")
    with pytest.raises(BadInputError, match=rf"the profile that was installed: .*{file}"):
        choose(host, places, history(profile_file=file, profile="mine"))


def test_a_profile_file_is_read_again(host, places, prepared):
    host.files.make_folders("/home/user")
    text = 'name = "mine"\ndescription = "d"\nextends = "military"\n'
    host.files.write_atomic("/home/user/mine.toml", text.encode())
    choose(
        host,
        places,
        history(profile_file="/home/user/mine.toml", profile="mine", model=None, device=None),
    )
    assert (prepared["profile"], prepared["profile_file"]) == ("mine", "/home/user/mine.toml")
