"""What doctor says of credentials: each way in which a server that wants keys would not find them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checks_host import context, install, one

from fakes import FakeHost
from local_opus.checks import credentials, secrets
from local_opus.host import Completed
from local_opus.keys import cloud, ring
from local_opus.locations import KEYS_DROP_IN, UNIT, Locations
from local_opus.values import CheckState

KEY = "sk-lo-" + "k" * 40


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root/home/user").mkdir(parents=True)
    return FakeHost(tmp_path / "root")


@pytest.fixture
def places(host: FakeHost) -> Locations:
    return install(host)


def asked(host: FakeHost) -> tuple[CheckState, str]:
    found = one(credentials.CHECK, context(host))
    return found.state, " ".join((found.evidence, *found.details))


def test_without_keys_there_is_no_question(host: FakeHost, places: Locations) -> None:
    assert asked(host)[0] is CheckState.NOT_APPLICABLE


def test_all_is_there(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    cloud.keep(host, places, "openai", KEY)
    assert asked(host) == (CheckState.PASS, "3 credentials, keys are required")


def test_a_clouds_key_alone_is_none_of_the_servers(host: FakeHost, places: Locations) -> None:
    cloud.keep(host, places, "openai", KEY)
    assert asked(host) == (CheckState.PASS, "1 credentials, keys are not required")


def test_the_credential_alone_has_keys_required(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    host.files.remove(places.keys_file)
    assert asked(host) == (CheckState.PASS, "2 credentials, keys are required")


def gone(host: FakeHost, path: str) -> None:
    host.files.remove(path)


def emptied(host: FakeHost, path: str) -> None:
    host.files.write_atomic(path, b"", mode=0o600)


def another(host: FakeHost, path: str) -> None:
    host.files.write_atomic(path, KEY.encode(), mode=0o600)


@pytest.mark.parametrize("damage", [gone, emptied, another])
@pytest.mark.parametrize("name", ["api-keys", "node-key"])
def test_each_damage_is_named(
    host: FakeHost, places: Locations, name: str, damage: Callable[[FakeHost, str], None]
) -> None:
    ring.add(host, places, ["a"])
    damage(host, f"{places.credentials}/{name}")
    state, said = asked(host)
    assert state is CheckState.FAIL
    assert f"{places.credentials}/{name}" in said
    assert KEY not in said


def nonsense(host: FakeHost, path: str) -> None:
    host.files.write_atomic(path, b"\x8f" * 300, mode=0o600)


def folder(host: FakeHost, path: str) -> None:
    host.files.remove(path)
    host.files.make_folder(path, mode=0o755)


@pytest.mark.parametrize("damage", [emptied, another, nonsense, folder])
@pytest.mark.parametrize("name", ["api-keys", "node-key", "cloud-openai"])
def test_each_damage_is_told_once(
    host: FakeHost, places: Locations, name: str, damage: Callable[[FakeHost, str], None]
) -> None:
    ring.add(host, places, ["a"])
    cloud.keep(host, places, "openai", KEY)
    damage(host, f"{places.credentials}/{name}")
    found = one(credentials.CHECK, context(host))
    if name == "cloud-openai" and damage in {another, nonsense}:  # whatever its owner gave
        assert found.state is CheckState.PASS
        return
    assert found.evidence.startswith(f"{places.credentials}/{name}: ")
    assert found.details == ()


def test_the_nodes_key_is_missed_also_beside_damaged_keys(
    host: FakeHost, places: Locations
) -> None:
    ring.add(host, places, ["a"])
    nonsense(host, f"{places.credentials}/api-keys")
    gone(host, f"{places.credentials}/node-key")
    said = asked(host)[1]
    assert said.count("/api-keys: ") == said.count("/node-key: missing") == 1


def test_a_clouds_empty_key_does_not_hide_how_the_others_are_made(
    host: FakeHost, places: Locations
) -> None:
    ring.add(host, places, ["a"])
    cloud.keep(host, places, "openai", KEY)
    emptied(host, f"{places.credentials}/cloud-openai")
    gone(host, f"{places.credentials}/node-key")
    found = one(credentials.CHECK, context(host))
    assert found.fix is not None
    assert found.fix.commands == (AGAIN, CLOUD)


AGAIN = "local-opus keys require on"
CLOUD = "local-opus keys set-cloud openai"


@pytest.mark.parametrize(
    ("name", "damage", "commands"),
    [
        ("node-key", nonsense, (AGAIN,)),
        ("node-key", gone, (AGAIN,)),
        ("node-key", folder, ("mv {path} ~", AGAIN)),
        ("api-keys", gone, (AGAIN,)),
        ("api-keys", nonsense, ("mv {path} ~", AGAIN)),
        ("api-keys", folder, ("mv {path} ~", AGAIN)),
        ("cloud-openai", emptied, (CLOUD,)),
        ("cloud-openai", folder, ("mv {path} ~", CLOUD)),
    ],
)
def test_what_is_advised_mends_it(
    host: FakeHost, places: Locations, name: str, damage: Callable[[FakeHost, str], None],
    commands: tuple[str, ...],
) -> None:  # fmt: skip
    ring.add(host, places, ["a"])
    cloud.keep(host, places, "openai", KEY)
    path = f"{places.credentials}/{name}"
    damage(host, path)
    found = one(credentials.CHECK, context(host))
    assert found.fix is not None
    assert found.fix.commands == tuple(command.format(path=path) for command in commands)
    if any(command.startswith("mv") for command in commands):
        host.files.rename(path, "/home/user/aside")
    if AGAIN in commands:
        ring.require(host, places)
    if CLOUD in commands:
        cloud.keep(host, places, "openai", KEY)
    assert asked(host)[0] is CheckState.PASS


@pytest.mark.parametrize("name", ["api-keys", "node-key"])
def test_a_folder_in_the_place_of_a_credential_is_no_question_of_modes(
    host: FakeHost, places: Locations, name: str
) -> None:
    ring.add(host, places, ["a"])
    folder(host, f"{places.credentials}/{name}")
    assert asked(host) == (
        CheckState.FAIL, f"{places.credentials}/{name}: a folder took its place"
    )  # fmt: skip
    assert one(secrets.CHECK, context(host)).state is CheckState.PASS


def test_a_unit_that_is_not_given_them(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    host.services.runs = True
    host.processes.answers["systemd-creds"] = Completed(0, "systemd 252 (252)", "")
    assert asked(host)[0] is CheckState.PASS
    gone(host, f"{places.units}/{UNIT}.d/{KEYS_DROP_IN}")
    state, said = asked(host)
    assert state is CheckState.FAIL
    assert KEYS_DROP_IN in said


def test_plain_where_systemd_could_encrypt(host: FakeHost, places: Locations) -> None:
    ring.add(host, places, ["a"])
    host.services.runs = True
    host.processes.answers["systemd-creds"] = Completed(0, "systemd 257 (257)", "")
    state, said = asked(host)
    assert state is CheckState.WARN
    assert "not encrypted" in said


def test_nonsense_in_the_mark_is_named(host: FakeHost, places: Locations) -> None:
    host.files.write_atomic(places.keys_file, b'{"required": "yes"}')
    state, said = asked(host)
    assert state is CheckState.FAIL
    assert places.keys_file in said


@pytest.mark.parametrize(
    ("name", "mode"), [("", 0o755), ("/api-keys", 0o640), ("/node-key", 0o604)]
)
def test_what_is_open_to_others_is_told_by_secrets(
    host: FakeHost, places: Locations, name: str, mode: int
) -> None:
    ring.add(host, places, ["a"])
    path = places.credentials + name
    host.files.set_mode(path, mode)
    found = one(secrets.CHECK, context(host))
    assert found.state is CheckState.FAIL
    assert path in found.evidence
    assert found.fixable
