"""The running node: which Python its workers run in, and what `status` can say of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue
from serving import serve

from fakes import FakeHost
from local_opus import cli, control, node, node_settings
from local_opus.errors import LocalOpusError, SilentSystemdError
from local_opus.history import Event
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt
from local_opus.values import Scope
from nobody import as_nobody, folder_of_nobody


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (("env-old", "env-new"), "env-new"),
        (("env-old",), "env-old"),
        ((), None),
    ],
)  # fmt: skip
def test_workers_run_in_the_newest_environment_that_has_its_python(tmp_path, there, taken):
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    host.files.make_folders(places.state)
    receipt = Receipt(host, places.receipt)
    for name in ("env-old", "env-new"):
        folder = f"{places.prefix}/{name}"
        receipt.append(
            Event.BEGIN, id=f"environment:{name}", kind="create_environment",
            params={"folder": folder},
        )  # fmt: skip
        receipt.append(Event.DONE, id=f"environment:{name}")
        if name in there:
            host.files.make_folders(f"{folder}/bin")
            host.files.write_atomic(f"{folder}/bin/python", b"")
    before = host.processes.worker_python
    control.use_installed_workers(host, places)
    wanted = before if taken is None else f"{host.root}{places.prefix}/{taken}/bin/python"
    assert host.processes.worker_python == wanted


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A machine whose server config was edited to what can't be."""
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    host.files.make_folders(places.config)
    host.files.write_atomic(places.server_config, b'{"port": ')
    monkeypatch.setattr("local_opus.cli.context.open_host", lambda: host)
    # Whatever serves at the default port of the machine that runs the tests.
    monkeypatch.setattr(node, "ask_ready", lambda *_: None)
    return host


@pytest.mark.parametrize(
    ("serving", "says"),
    [(None, "stopped"), (node.Serving(7, "detached"), "running (PID 7, detached)")],
)  # fmt: skip
def test_a_config_that_can_not_be_is_told_with_its_remedy(
    broken, monkeypatch, capsys, serving, says
):
    monkeypatch.setattr(node, "serving", lambda *_: serving)
    assert cli.main(["status", "--scope", "user"]) == 3
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert shown["server"] == says
    assert shown["problem"].startswith("/home/user/.config/local-opus/server.json: the file: ")
    assert shown["fix"] == "Correct the file, or remove it and install again to have it written."
    found = control.status(broken, locate(Scope.USER, broken.environ))
    assert (found["installed"], found["running"], found["ready"]) == (True, serving is not None, None)  # fmt: skip


def test_status_names_a_device_that_is_none(broken, monkeypatch):
    monkeypatch.setattr(node, "serving", lambda *_: node.Serving(7, "detached"))
    places = locate(Scope.USER, broken.environ)
    serve(broken, places, "/models/m")
    model = json.loads(broken.files.read_text(f"{places.config}/model.json"))
    text = json.dumps({**model, "device": "FOO"})
    broken.files.write_atomic(f"{places.config}/model.json", text.encode())
    found = control.status(broken, places)
    assert str(found["problem"]).startswith(f"{places.config}/model.json: device: ")
    assert (found["running"], bool(found["fix"])) == (True, True)


@pytest.fixture
def deleted(broken: FakeHost) -> FakeHost:
    """A finished install whose server.json is gone."""
    places = locate(Scope.USER, broken.environ)
    broken.files.remove(places.server_config)
    broken.files.make_folders(places.state)
    receipt = Receipt(broken, places.receipt)
    params: dict[str, JsonValue] = {"path": places.server_config}
    receipt.append(Event.RUN, data={"profile": "p"})
    receipt.append(Event.BEGIN, id="config:server", kind="write_file", params=params)
    receipt.append(Event.DONE, id="config:server")
    receipt.append(Event.FINISHED)
    return broken


def test_a_start_without_its_config_says_how_to_have_it_restored(deleted, capsys):
    assert cli.main(["start", "--scope", "user"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "server.json: missing" in said
    assert "doctor --fix" in said


def test_status_without_its_config_says_how_to_have_it_restored(deleted):
    found = control.status(deleted, locate(Scope.USER, deleted.environ))
    assert found["problem"] == "/home/user/.config/local-opus/server.json: missing"
    assert found["fix"] == "Run `local-opus doctor --fix`: that restores it."
    assert found["installed"] is True


def test_a_config_that_was_never_installed_is_not_missing(broken):
    places = locate(Scope.USER, broken.environ)
    broken.files.remove(places.server_config)
    with pytest.raises(LocalOpusError, match="there is no server installed here"):
        node_settings.settings(broken, places)


@pytest.fixture
def of_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(node, "ask_ready", lambda *_: {"model": "m"})
    with folder_of_nobody() as root:
        yield root


def at_home(root: Path) -> tuple[FakeHost, Locations]:
    """A user's configs, by the user who calls."""
    host = FakeHost(root)
    host.euid = os.geteuid()
    places = locate(Scope.USER, host.environ)
    host.files.make_folders(places.config)
    host.files.make_folders(places.models)
    serve(host, places, places.models)
    return host, places


CLOSED = [
    ("server.json", "chmod 600 /home/user/.config/local-opus/server.json"),
    ("model.json", "chmod 600 /home/user/.config/local-opus/model.json"),
    (".", "chmod 700 /home/user/.config/local-opus"),
]


@pytest.mark.parametrize(("name", "command"), CLOSED)
def test_a_user_who_closed_his_own_config_is_told_how_to_open_it(of_nobody, name, command):
    def steps() -> None:
        host, places = at_home(of_nobody)
        (of_nobody / places.config[1:] / name).chmod(0o000)
        with pytest.raises(LocalOpusError, match="permission denied") as caught:
            node_settings.settings(host, places)
        assert caught.value.remedy == f"Run `{command}`, or `local-opus doctor --fix`."

    as_nobody(steps)


def test_status_names_the_config_that_its_owner_closed(of_nobody):
    def steps() -> None:
        host, places = at_home(of_nobody)
        (of_nobody / places.config[1:] / "model.json").chmod(0o000)
        found = control.status(host, places)
        assert found["ready"] is True
        assert f"{places.config}/model.json: permission denied" in str(found["problem"])
        assert "chmod 600" in str(found["fix"])

    as_nobody(steps)


def test_status_of_somebody_elses_config_names_no_problem(of_nobody):
    if os.geteuid() != 0:
        pytest.skip("needs a second user")
    as_nobody(lambda: at_home(of_nobody))
    theirs = of_nobody / "home/user/.config/local-opus/server.json"
    os.chown(theirs, 0, 0)
    theirs.chmod(0o600)

    def steps() -> None:
        host = FakeHost(of_nobody)
        host.euid = os.geteuid()
        found = control.status(host, locate(Scope.USER, host.environ))
        assert (found["ready"], found.get("problem")) == (True, None)

    as_nobody(steps)


SERVICE = ("enable_service", {"scope": "user", "inputs_sha256": "0" * 64})
DETACHED = ("start_server", {"scope": "user", "inputs_sha256": "0" * 64, "command": ["x"]})


def installed(tmp_path: Path, kind: str, params: dict[str, JsonValue]) -> FakeHost:
    """A user's node on a machine whose systemd runs, and does not answer here."""
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")
    places = locate(Scope.USER, host.environ)
    for folder in (places.state, "/run/systemd/system", f"/run/user/{host.euid}/systemd"):
        host.files.make_folders(folder)
    receipt = Receipt(host, places.receipt)
    receipt.append(Event.BEGIN, id="server", kind=kind, params=params)
    receipt.append(Event.DONE, id="server")
    return host


@pytest.mark.parametrize(
    "ask",
    [
        control.status,
        control.stop,
        lambda host, places: control.start(host, places, lambda _waited: None),
    ],
    ids=["status", "stop", "start"],
)
def test_what_a_silent_systemd_runs_is_not_told_to_be_stopped(tmp_path, monkeypatch, ask):
    monkeypatch.setattr(node_settings, "settings", lambda *_: None)
    host = installed(tmp_path, *SERVICE)
    with pytest.raises(SilentSystemdError, match="does not answer"):
        ask(host, locate(Scope.USER, host.environ))


def test_a_server_that_is_no_service_needs_no_systemd_to_be_known(tmp_path):
    host = installed(tmp_path, *DETACHED)
    assert control.stop(host, locate(Scope.USER, host.environ)) is None


def test_a_stop_takes_back_what_a_server_that_crashed_left_set(tmp_path, monkeypatch):
    taken: list[object] = []
    monkeypatch.setattr(control.service, "stop_beside", lambda *_: taken.append(1))
    host = installed(tmp_path, *DETACHED)
    control.stop(host, locate(Scope.USER, host.environ))
    assert taken == [1]


def test_a_service_is_not_said_to_be_missing_where_no_systemd_runs(tmp_path):
    host = installed(tmp_path, *SERVICE)
    with pytest.raises(LocalOpusError, match="the server is a service, and no systemd runs here"):
        control.server_command(host, locate(Scope.USER, host.environ))
