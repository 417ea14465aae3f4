"""The room of an environment: asked for before anything changes, and only where one is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_catalog_fit import machine

from fakes import FakeHost
from local_opus import environment, install, picking, planner, profiles, resources, room
from local_opus.catalog import needs
from local_opus.errors import MachineCannotError
from local_opus.host import Space
from local_opus.interpreter import Interpreter
from local_opus.locations import Locations, locate
from local_opus.profiles import Profile
from local_opus.values import HostFacts, Scope

MIB = 2**20
PROGRAM = planner.ProgramFacts(
    dict.fromkeys(resources.names("locks"), "ab" * 32), "cd" * 32, Interpreter("/usr/bin/python3", "3.12")
)  # fmt: skip
PLACES = locate(Scope.SYSTEM, {})


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def profile(name: str = "military") -> Profile:
    return profiles.load(name, lambda path: path)


def disks(monkeypatch: pytest.MonkeyPatch, host: FakeHost, **free: int) -> None:
    """Give MiB free below /opt and /var, on disks of their own or (``both``) on one."""
    own, store = (free.get(name, free.get("both", 0)) * MIB for name in ("opt", "var"))
    spaces = {"/opt/local-opus": Space(2**40, own, None, 1),
              "/var/lib/local-opus/models": Space(2**40, store, None, 1 if "both" in free else 2)}  # fmt: skip
    monkeypatch.setattr(host.files, "space", spaces.__getitem__)


def coming(host: FakeHost, name: str = "military") -> room.Coming:
    return room.of_environment(host, PLACES, profile(name), PROGRAM)


@pytest.mark.parametrize("name", profiles.names())
def test_an_environment_that_finds_no_room_is_refused_with_folder_and_bytes(
    host, name, monkeypatch
):
    disks(monkeypatch, host, opt=50, var=10**6)
    found = coming(host, name)
    assert found.need == environment.ROOM[planner.lock_of(profile(name))]
    with pytest.raises(
        MachineCannotError, match=r"^/opt/local-opus: the environment needs "
    ) as error:
        found.require()
    assert f"({found.need - 50 * MIB:,} bytes) on the disk of /opt/local-opus" in error.value.remedy


@pytest.mark.parametrize("free", [{"opt": 10**6, "var": 1}, {"opt": 10**6, "var": 0}])
def test_the_disk_of_the_store_is_not_asked_for_the_environment(host, free, monkeypatch):
    disks(monkeypatch, host, **free)
    found = coming(host)
    found.require()
    assert found.on_disk_of_store == 0


def test_on_one_disk_the_environment_counts_with_the_weights(host, monkeypatch):
    disks(monkeypatch, host, both=1000)
    assert coming(host).on_disk_of_store == coming(host).need > 0


def made(host: FakeHost, mode: int = 0o755, marker: str | None = None) -> None:
    folder = planner.environment_action(profile(), PLACES, PROGRAM).params["folder"]
    (Path(host.root + str(folder)) / "bin").mkdir(parents=True)
    (Path(host.root + str(folder)) / "bin/python").touch()
    text = f"{'ab' * 32} {'cd' * 32}\n" if marker is None else marker
    (Path(host.root + str(folder)) / ".complete").write_text(text)
    Path(host.root + str(folder)).chmod(mode)


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_one_that_is_there_needs_none(host, mode, monkeypatch):
    made(host, mode)
    disks(monkeypatch, host, both=0)
    coming(host).require()


@pytest.mark.parametrize(("mode", "marker"), [(0o755, "another\n"), (0o777, None)])
def test_one_that_is_made_anew_needs_its_room_beside_the_old(host, mode, marker, monkeypatch):
    made(host, mode, marker)
    disks(monkeypatch, host, both=0)
    with pytest.raises(MachineCannotError):
        coming(host).require()


def test_what_a_killed_run_left_of_one_counts_as_free(host):
    folder = str(planner.environment_action(profile(), PLACES, PROGRAM).params["folder"])
    new = Path(host.root + folder.replace("/env-", "/.env-") + ".local-opus-new")
    new.mkdir(parents=True)
    (new / "wheel").write_bytes(bytes(MIB))
    assert coming(host).need == environment.ROOM["requirements-openvino.lock"] - MIB


def test_every_lock_says_its_room():
    assert set(environment.ROOM) == set(planner.LOCKS.values())


def prepared(
    host: FakeHost, name: str, facts: HostFacts, places: Locations = PLACES
) -> install.Choice:
    return install.prepare(
        host, places, profile(name), facts, model_id=None, device=None, port=None
    )


@pytest.mark.parametrize("name", ["military", "external-api"])
def test_an_install_without_a_model_asks_too_and_changes_nothing(host, name, monkeypatch):
    monkeypatch.setattr(install, "program_facts", lambda *_: PROGRAM)
    disks(monkeypatch, host, both=10)
    with pytest.raises(MachineCannotError, match="the environment needs"):
        prepared(host, name, machine())
    assert not list(Path(host.root).glob("opt"))


def test_a_model_is_chosen_that_leaves_room_for_the_environment(host, monkeypatch):
    monkeypatch.setattr(install, "program_facts", lambda *_: PROGRAM)
    disks(monkeypatch, host, both=10_000)
    alone = picking.pick_model(
        host, PLACES, profile("local-opus"), machine(disk=6), None, None
    ).model
    assert alone is not None
    tight = machine(disk=needs.disk(alone) / 2**30)
    assert picking.pick_model(host, PLACES, profile("local-opus"), tight, None, None).model == alone
    both = prepared(host, "local-opus", tight).model
    assert both is not None
    assert needs.disk(both) + environment.ROOM["requirements-server.lock"] <= needs.disk(alone)
