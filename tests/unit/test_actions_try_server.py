"""A trial of a new server: what is made for it, what it stops, and that nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import wheel_model
from fakes import FakeHost
from local_opus import node, node_settings, selftest
from local_opus.actions.try_server import TryServer
from local_opus.errors import LocalOpusError
from local_opus.locations import TRIAL_UNIT, UNIT, locate
from local_opus.values import Device, Scope

PLACES = locate(Scope.SYSTEM, {})
TRIAL = PLACES.trial
GIB = 2**30
PARAMS: dict[str, object] = {
    "scope": "system",
    "config": TRIAL.config,
    "runtime": TRIAL.runtime,
    "logs": TRIAL.logs,
    "units": TRIAL.units,
    "configs": {"server.json": "{}", "model.json": "{}"},
    "group": None,
    "unit": "[Service]\n",
    "command": ("/opt/python", "-m", "local_opus.serve"),
    "model": wheel_model(b"x"),
    "model_folder": "/var/lib/local-opus/models/tiny/cpu",
    "device": "CPU",
    "port": 8001,
    "memory": GIB,
}


def quiet(_step: str, _done: int, _total: int | None) -> None:
    return None


def trial(**more: object) -> TryServer:
    return TryServer.model_validate({**PARAMS, **more})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Systemd runs here, a server serves, and whatever is started is ready and answers."""
    (tmp_path / "root").mkdir()
    made = FakeHost(tmp_path / "root")
    made.services.runs = True
    made.services.values = {"LoadState": "loaded", "ActiveState": "active", "MainPID": "77"}
    for folder in (PLACES.config, PLACES.units, "/proc"):
        made.files.make_folders(folder)
    free(made, 8 * GIB)
    monkeypatch.setattr(node_settings, "settings", lambda *_: None)
    monkeypatch.setattr(node, "wait_ready", lambda *_: {})
    monkeypatch.setattr(selftest, "server", lambda *_: {"tokens": 64})
    return made


def free(host: FakeHost, available: int) -> None:
    text = f"MemTotal: {16 * GIB // 1024} kB\nMemAvailable: {available // 1024} kB\n"
    host.files.write_atomic("/proc/meminfo", text.encode())


def tree(host: FakeHost) -> list[str]:
    return [path for path, _ in host.files.walk("/", folders=True) if not path.startswith("proc")]


def test_it_is_started_asked_and_gone(host: FakeHost) -> None:
    before = tree(host)
    action = trial()
    captured = action.capture(host)
    assert action.execute(host, captured, quiet)["tokens"] == 64
    assert f"{TRIAL.units}/{TRIAL_UNIT}"[1:] in tree(host)
    assert host.files.read_text(f"{TRIAL.config}/server.json") == "{}"
    assert ("start", TRIAL_UNIT) in host.services.verbs
    action.revert(host, captured, {})
    assert tree(host) == before
    assert ("stop", TRIAL_UNIT) in host.services.verbs


def test_the_one_that_serves_is_let_alone_where_both_fit(host: FakeHost) -> None:
    action = trial()
    action.execute(host, action.capture(host), quiet)
    assert ("stop", UNIT) not in host.services.verbs


@pytest.mark.parametrize(
    ("device", "available"), [("CPU", GIB // 2), ("GPU", 8 * GIB), ("NPU", 8 * GIB)]
)
def test_the_one_that_serves_makes_room_where_it_must(
    host: FakeHost, device: str, available: int
) -> None:
    free(host, available)
    action = trial(device=device)
    action.execute(host, action.capture(host), quiet)
    assert host.services.verbs.index(("stop", UNIT)) < host.services.verbs.index(
        ("start", TRIAL_UNIT)
    )


def test_after_a_failure_the_one_that_made_room_is_started_again(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise LocalOpusError("it does not answer", "look")

    monkeypatch.setattr(selftest, "server", silent)
    free(host, GIB // 2)
    action = trial()
    captured = action.capture(host)
    with pytest.raises(LocalOpusError):
        action.execute(host, captured, quiet)
    host.services.values["MainPID"] = "0"
    action.revert(host, captured, None)
    host.services.verbs.clear()
    action.resume(host, captured)
    assert host.services.verbs == [("start", UNIT)]


def test_one_that_did_not_serve_is_not_started(host: FakeHost) -> None:
    host.services.values["MainPID"] = "0"
    action = trial()
    captured = action.capture(host)
    action.execute(host, captured, quiet)
    action.revert(host, captured, {})
    host.services.verbs.clear()
    action.resume(host, captured)
    assert host.services.verbs == []


def test_what_a_killed_trial_left_is_cleared_away_first(host: FakeHost) -> None:
    host.files.make_folder(TRIAL.config)
    host.files.write_atomic(f"{TRIAL.config}/server.json", b"old")
    host.files.write_atomic(f"{TRIAL.config}/.model.json.local-opus-new", b"half")
    action = trial()
    captured = action.capture(host)
    action.execute(host, captured, quiet)
    assert host.files.list(TRIAL.config) == ["model.json", "server.json"]


def test_every_path_lies_below_the_known_roots() -> None:
    for path in trial().paths():
        assert any(path == root or path.startswith(f"{root}/") for root in PLACES.roots)
    assert trial().device == Device.CPU
