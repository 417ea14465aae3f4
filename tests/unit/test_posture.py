"""Each part of the offline posture: applied, not applicable, or drifted with its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checks_host import context, install, journal, one, planned, write

from fakes import FakeHost
from local_opus import node, node_status, posture
from local_opus.checks import posture as check
from local_opus.locations import Locations, locate
from local_opus.values import CheckState, Scope
from local_opus.values.posture import NAME, VARIABLES, assignments

UNIT = "local-opus.service"
CLOSED = {
    "PrivateNetwork": "no",
    "IPAddressDeny": "::/0 0.0.0.0/0",
    "IPAddressAllow": "::1/128 127.0.0.0/8",
    "EnvironmentFiles": f"/home/user/.config/local-opus/{NAME} (ignore_errors=no)",
}
ENV = "".join(f"{name}={value}\n" for name, value in VARIABLES.items())
SERVER = '{"schema_version": 1, "host": "%s", "port": 8000, "max_queue": 1, "model_config": "/m", "generation_config": "/g", "openvino_config": "/o"}'


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root").mkdir()
    made = FakeHost(tmp_path / "root")
    made.services.runs = True
    made.services.values = dict(CLOSED)
    return made


@pytest.fixture
def places(host: FakeHost) -> Locations:
    found = locate(Scope.USER, host.environ)
    host.files.make_folders(found.units)
    return install(
        host,
        planned("posture", "write_file", path=f"{found.config}/{NAME}", content=ENV, mode=0o600),
        planned("config:server", "write_file", path=f"{found.config}/server.json",
                content=SERVER % "127.0.0.1", mode=0o600),
        planned(f"unit:{UNIT}", "install_unit", path=f"{found.units}/{UNIT}",
                content="[Service]\n", mode=0o644, scope="user"),
    )  # fmt: skip


def parts(host: FakeHost, places: Locations) -> dict[str, tuple[str, str]]:
    found = posture.parts(host, places, journal(host, places).history)
    return {part.id: (part.state.value, part.evidence) for part in found}


def test_a_node_as_installed_is_applied(host, places):
    states = {id_: state for id_, (state, _) in parts(host, places).items()}
    assert states == {
        "variables": "applied", "processes": "applied", "egress": "applied",
        "telemetry": "not applicable", "loopback": "applied",
    }  # fmt: skip
    assert one(check.CHECK, context(host)).state is CheckState.PASS


EDITS = {
    "switched": (ENV.replace("HF_HUB_OFFLINE=1", "HF_HUB_OFFLINE=0"), "HF_HUB_OFFLINE is 0"),
    "left out": (ENV.replace("DO_NOT_TRACK=1\n", ""), "DO_NOT_TRACK is not set"),
    "a comment": (ENV.replace("DO_NOT_TRACK", "#DO_NOT_TRACK"), "DO_NOT_TRACK is not set"),
    "set again": (f"{ENV}TRANSFORMERS_OFFLINE=no\n", "TRANSFORMERS_OFFLINE is no"),
    "empty": ("", "HF_HUB_OFFLINE is not set"),
}


@pytest.mark.parametrize(("text", "says"), EDITS.values(), ids=EDITS)
def test_an_edited_file_has_drifted(host, places, text, says):
    write(host, f"{places.config}/{NAME}", text)
    state, evidence = parts(host, places)["variables"]
    assert (state, says in evidence) == ("drifted", True)
    found = one(check.CHECK, context(host))
    assert (found.state, says in found.evidence) == (CheckState.FAIL, True)


def test_a_file_that_is_gone_has_drifted(host, places):
    host.files.remove(f"{places.config}/{NAME}")
    assert parts(host, places)["variables"] == ("drifted", f"{places.config}/{NAME}: missing")


DROP_IN = f"/home/user/.config/systemd/user/{UNIT}.d/own.conf"


@pytest.mark.parametrize(
    ("changed", "line", "part"),
    [
        ({"IPAddressAllow": "0.0.0.0/0"}, "IPAddressAllow=any", "egress"),
        ({"IPAddressDeny": ""}, "IPAddressDeny=", "egress"),
        ({"IPAddressAllow": "127.0.0.0/8 10.0.0.0/8"}, "IPAddressAllow=10.0.0.0/8", "egress"),
        ({"UnsetEnvironment": "HF_HUB_OFFLINE"}, "UnsetEnvironment=HF_HUB_OFFLINE", "processes"),
    ],
)
def test_a_drop_in_that_opens_it_is_named_with_its_line(host, places, changed, line, part):
    write(host, DROP_IN, f"[Service]\n{line}\n")
    host.services.values |= {**changed, "DropInPaths": DROP_IN}
    state, evidence = parts(host, places)[part]
    assert (state, f"{DROP_IN}:2: {line}" in evidence) == ("drifted", True), evidence


def test_a_unit_without_a_network_needs_no_filter(host, places):
    host.services.values |= {"PrivateNetwork": "yes", "IPAddressDeny": "", "IPAddressAllow": ""}
    assert parts(host, places)["egress"] == ("applied", f"{UNIT} has no network")


def test_what_a_users_systemd_can_not_do_is_no_drift(host, places):
    host.services.values |= {"IPAddressDeny": "", "IPAddressAllow": ""}
    assert parts(host, places)["egress"][0] == "not applicable"


def test_a_server_that_runs_without_the_variables_has_drifted(host, places, monkeypatch):
    monkeypatch.setattr(node, "serving", lambda *_: node.Serving(77, "systemd"))
    environ = ENV.replace("HF_HUB_OFFLINE=1", "HF_HUB_OFFLINE=0").replace("\n", "\0")
    write(host, "/proc/77/environ", environ)
    assert parts(host, places)["processes"] == (
        "drifted", "the server runs with HF_HUB_OFFLINE 0"
    )  # fmt: skip


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_an_address_of_others_has_drifted(host, places, address):
    write(host, places.server_config, SERVER % address)
    state, evidence = parts(host, places)["loopback"]
    assert state == "drifted"
    assert "server.json: host: " in evidence


@pytest.mark.parametrize(
    ("listen", "state"),
    [
        ("127.0.0.1:8000 (Stream)", "applied"),
        ("[::1]:8000 (Stream)", "applied"),
        ("0.0.0.0:8000 (Stream)", "drifted"),
        ("127.0.0.1:8000 (Stream)\n0.0.0.0:8001 (Stream)", "drifted"),
    ],
)
def test_where_systemd_listens_its_socket_counts(host, places, listen, state):
    write(host, f"{places.units}/{UNIT}", "[Unit]\nRequires=local-opus.socket\n")
    write(host, f"{places.units}/local-opus.socket", "[Socket]\nListenStream=127.0.0.1:8000\n")
    host.services.units["local-opus.socket"] = {**CLOSED, "Listen": listen}
    found = parts(host, places)["loopback"]
    assert found[0] == state
    assert found[1].startswith("local-opus.socket: ")


def test_without_a_server_status_is_sound_until_something_drifts(host):
    found = locate(Scope.USER, host.environ)
    places = install(
        host,
        planned("posture", "write_file", path=f"{found.config}/{NAME}", content=ENV, mode=0o600),
    )
    said = node_status.told(host, places)
    assert (said["installed"], said["serves"]) == (True, False)
    assert str(said["server"]).startswith("none: the profile ")
    assert node_status.is_sound(said)
    write(host, f"{places.config}/{NAME}", "")
    assert not node_status.is_sound(node_status.told(host, places))


def test_nothing_installed_says_nothing(host):
    assert node_status.told(host, locate(Scope.USER, host.environ)) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\n# B=2\n;C=3\n D = 4 \nE\nF='5'\n", {"A": "1", "D": "4", "F": "5"}),
        ("A=1\nA=2\n", {"A": "2"}),
    ],
)
def test_variables_are_read_as_systemd_reads_them(text: str, found: dict[str, Any]):
    assert assignments(text) == found
