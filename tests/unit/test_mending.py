"""``doctor --fix``: each thing that it mends, what it leaves alone, and the way back of all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checks_host import PORT, context, install, note, one, planned, settings, write

from fakes import FakeHost
from local_opus import checks, cli, mending, node, node_settings, restoring, uninstall
from local_opus.actions import build
from local_opus.actions.base import State
from local_opus.actions.start_server import StartServer
from local_opus.apply import Applier
from local_opus.checks.base import Check
from local_opus.checks.runner import run
from local_opus.errors import BadInputError, InterruptedRunError, LocalOpusError
from local_opus.history import Event
from local_opus.locations import Locations, locate
from local_opus.opening import open_journal
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.values import CheckResult, Mended, Scope

TELL = QuietReporter()
OF_FILES = ("drift", "secrets", "leftovers", "partials", "receipt")


def found(host: FakeHost, *ids: str) -> list[CheckResult]:
    asked: list[Check] = [check for check in checks.REGISTRY if check.id in (ids or OF_FILES)]
    return run(asked, context(host))


def mend(host: FakeHost, places: Locations, *ids: str) -> list[Mended]:
    return mending.mend(mending.steps(host, places, found(host, *ids)), TELL)


def states(host: FakeHost, *ids: str) -> set[str]:
    return {one.state.value for one in found(host, *ids)}


def at(host: FakeHost, path: str) -> Path:
    return Path(host.root + path)


def tree(host: FakeHost) -> dict[str, tuple[int, bytes]]:
    top = Path(host.root)
    return {
        str(path.relative_to(top)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(top.rglob("*"))
    }  # fmt: skip


def lose(host: FakeHost, places: Locations) -> None:
    at(host, f"{places.config}/a.json").unlink()


def lose_all(host: FakeHost, places: Locations) -> None:
    host.files.remove_tree(places.config)
    host.files.remove_tree(f"{places.prefix}/bin")


def open_config(host: FakeHost, places: Locations) -> None:
    at(host, places.config).chmod(0o755)
    at(host, f"{places.config}/a.json").chmod(0o644)


def open_receipt(host: FakeHost, places: Locations) -> None:
    at(host, places.receipt).chmod(0o644)
    at(host, f"{places.state}/receipt.head").chmod(0o604)


def close_script(host: FakeHost, places: Locations) -> None:
    at(host, f"{places.prefix}/bin/x.sh").chmod(0)


def half_written(host: FakeHost, places: Locations) -> None:
    write(host, f"{places.config}/.a.json.local-opus-new", "half")
    write(host, f"{places.prefix}/.env-1.local-opus-new/bin/x", "half")


def stale_pid(host: FakeHost, places: Locations) -> None:
    write(host, places.pid_file, '{"pid": 4194305, "started": "1"}')


def on_the_way(host: FakeHost, places: Locations) -> None:
    write(host, "/home/user/.local/.local-opus-arriving/local-opus/x", "")


def orphan(host: FakeHost, places: Locations) -> None:
    write(host, f"{places.models}/tiny/.partial/gguf-q4/f", "x" * 100)


DAMAGES = [lose, lose_all, open_config, open_receipt, close_script, half_written, stale_pid, on_the_way, orphan]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_mended_and_an_uninstall_leaves_nothing(host, damage):
    host.files.make_folders("/home/user/.local/bin")
    host.files.make_folders("/home/user/.local/share")
    before = tree(host)
    places = install(host)
    whole = tree(host)
    damage(host, places)
    assert states(host) - {"pass"}
    done = mend(host, places)
    assert done
    assert all(step.done for step in done), done
    assert states(host) == {"pass"}, [one for one in found(host) if one.state != "pass"]
    for path, content in whole.items():
        if "state/local-opus/receipt" not in path:
            assert tree(host)[path] == content, path
    uninstall.uninstall(host, places, purge=True, tell=TELL)
    assert tree(host) == before


def test_each_runs_a_second_time(host):
    places = install(host)
    for damage in [*DAMAGES, *DAMAGES]:
        damage(host, places)
        assert all(step.done for step in mend(host, places))
        assert states(host) == {"pass"}


def test_the_receipt_tells_of_it_as_of_an_install(host):
    places = install(host)
    lose(host, places)
    count = len(Receipt(host, places.receipt).records)
    mend(host, places)
    new = Receipt(host, places.receipt).records[count:]
    assert [(one.event, one.id) for one in new] == [
        (Event.RUN, ""), (Event.BEGIN, "config:a"), (Event.DONE, "config:a"), (Event.FINISHED, ""),
    ]  # fmt: skip
    assert new[0].data["profile"] == "local-opus"
    assert new[-1].data == {"files": 1, "restored": ["config:a"]}


def test_a_mode_is_recorded_and_put_back_by_the_way_back(host):
    places = install(host)
    open_receipt(host, places)
    mend(host, places)
    entries = [
        one for one in Receipt(host, places.receipt).history.entries if one.kind == "set_mode"
    ]
    assert {one.params["path"]: one.before["mode"] for one in entries} == {
        places.receipt: 0o644, f"{places.state}/receipt.head": 0o604,
    }  # fmt: skip
    assert all(one.outside for one in entries)


# -- what is left alone ------------------------------------------------------------------------


def edit(host: FakeHost, places: Locations) -> None:
    at(host, f"{places.config}/a.json").write_text('{"mine": 1}')


def open_token(host: FakeHost, places: Locations) -> None:
    write(host, "/home/user/.cache/huggingface/token", "hf_x", 0o644)


@pytest.mark.parametrize("leave", [edit, open_token])
def test_what_is_the_users_stays_as_it_is(host, leave):
    places = install(host)
    leave(host, places)
    before = tree(host)
    assert mend(host, places) == []
    assert tree(host) == before


def test_an_edit_beside_damage_is_kept(host):
    places = install(host)
    edit(host, places)
    at(host, f"{places.config}/b.json").unlink()
    assert all(step.done for step in mend(host, places))
    assert at(host, f"{places.config}/a.json").read_text() == '{"mine": 1}'
    assert at(host, f"{places.config}/b.json").exists()


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("create_group", {"name": "no-such-group-here"}),
        ("create_environment", {"folder": "/home/user/.local/share/local-opus/env-x", "lock": "requirements.lock",
                                "lock_sha256": "0" * 64, "program_sha256": "0" * 64, "interpreter": "/usr/bin/python3",
                                "python": "3.11"}),
    ],
)  # fmt: skip
def test_what_needs_a_group_or_packages_is_for_an_install(host, kind, params):
    places = install(host)
    note(host, places, "it", kind, **params)
    assert mend(host, places) == []


def test_a_run_that_was_killed_is_gone_on_with_first(host):
    places = install(host)
    lose(host, places)
    results = found(host)
    Receipt(host, places.receipt).append(Event.RUN, data={"profile": "local-opus"})
    assert mending.steps(host, places, results) == []
    with pytest.raises(LocalOpusError, match="did not come to its end"):
        restoring.restore(host, places, ["config:a"], TELL)


def test_another_users_install_is_refused(host, monkeypatch):
    places = locate(Scope.SYSTEM, {})
    host.euid = 1000
    with pytest.raises(BadInputError, match="needs root"):
        mending.steps(
            host,
            places,
            [CheckResult(id="drift", title="x", state="fail", evidence="", fixable=True)],
        )  # type: ignore[arg-type]


def test_while_another_run_is_at_work_it_is_told_and_nothing_changes(host):
    import fcntl

    places = install(host)
    lose(host, places)
    todo = mending.steps(host, places, found(host))
    with at(host, places.lock).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (step,) = mending.mend(todo, TELL)
    assert not step.done
    assert "another run is changing this machine" in str(step.problem)
    assert not at(host, f"{places.config}/a.json").exists()


def test_one_that_fails_does_not_stop_the_others(host, monkeypatch):
    places = install(host)
    stale_pid(host, places)
    lose(host, places)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", places.config)

    todo = mending.steps(host, places, found(host))
    with monkeypatch.context() as patch:
        patch.setattr(host.files, "write_atomic", full)
        done = mending.mend(todo, TELL)
    assert [step.done for step in done] == [True, False]
    assert "no space" in str(done[1].problem).lower()
    assert not at(host, places.pid_file).exists()
    assert Receipt(host, places.receipt).history.finished


def test_a_file_that_comes_out_wrong_fails_and_is_rolled_back(host, monkeypatch):
    places = install(host)
    lose(host, places)
    real = host.files.write_atomic

    def wrong(path: str, data: bytes, **more: int) -> None:
        real(path, data, **{**more, "mode": 0o666} if path.endswith("a.json") else more)

    monkeypatch.setattr(host.files, "write_atomic", wrong)
    (step,) = mend(host, places)
    assert not step.done
    assert "afterwards it is still not so (mode 0666)" in str(step.problem)
    assert not at(host, f"{places.config}/a.json").exists()


# -- the server --------------------------------------------------------------------------------


@pytest.fixture
def stopped(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A node whose server is down; starting it is scripted."""
    running: list[node.Serving] = []
    monkeypatch.setattr(node, "serving", lambda *_: running[-1] if running else None)
    monkeypatch.setattr(node_settings, "settings", lambda *_: settings())
    monkeypatch.setattr(node, "ask_ready", lambda *_: {"model": "smollm2-135m"})
    monkeypatch.setattr(host.network, "port_problem", lambda *_: None)

    def execute(_self: object, _host: object, _before: object, _progress: object) -> dict[str, int]:
        running.append(node.Serving(7, "detached"))
        return {"pid": 7}

    monkeypatch.setattr(StartServer, "execute", execute)
    monkeypatch.setattr(StartServer, "inspect", lambda *_: build_inspection(bool(running)))
    server = planned("server", "start_server", scope="user", command=["/x"], inputs_sha256="0" * 64)
    install(host, server)
    running.clear()
    return host


def build_inspection(runs: bool):  # type: ignore[no-untyped-def]
    from local_opus.actions.base import Inspection

    return Inspection(state=State.PRESENT if runs else State.ABSENT, evidence="")


def test_a_server_that_does_not_run_is_started_by_its_action(stopped, places):
    todo = mending.steps(stopped, places, found(stopped, "server"))
    assert todo[0].lines == ("start the server in the background (systemd does not run here)",)
    (step,) = mending.mend(todo, TELL)
    assert step.done, step
    last = Receipt(stopped, places.receipt).records[-3:]
    assert [(one.event, one.id) for one in last] == [
        (Event.BEGIN, "server"), (Event.DONE, "server"), (Event.FINISHED, ""),
    ]  # fmt: skip


def test_an_interruption_ends_it_at_once_and_says_what_goes_on(stopped, places, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    lose(stopped, places)
    monkeypatch.setattr(StartServer, "execute", stop)
    todo = mending.steps(stopped, places, found(stopped, "server", "drift"))
    assert len(todo) == 2
    with pytest.raises(InterruptedRunError) as caught:
        mending.mend(todo, TELL)
    history = Receipt(stopped, places.receipt).history
    assert not history.finished
    assert f"Run `{restoring.install_command(history)}` to go on" in caught.value.remedy
    assert at(stopped, f"{places.config}/a.json").exists()


def test_a_port_that_another_program_holds_keeps_it_down(stopped, places, monkeypatch):
    monkeypatch.setattr(stopped.network, "port_problem", lambda *_: "address already in use")
    (step,) = mend(stopped, places, "server")
    assert (
        step.done,
        f"port {PORT} on 127.0.0.1: address already in use" in str(step.problem),
    ) == (False, True)


# -- the command -------------------------------------------------------------------------------


@pytest.fixture
def shell(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    of_files = tuple(check for check in checks.REGISTRY if check.id in OF_FILES)
    monkeypatch.setattr(checks, "REGISTRY", of_files)
    monkeypatch.setattr("local_opus.cli.context.open_host", lambda: host)
    return host


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = cli.main(["doctor", "--scope", "user", *words])
    return code, capsys.readouterr().out


def test_it_is_shown_and_done_and_told(shell, capsys):
    places = install(shell)
    lose(shell, places)
    code, out = doctor(capsys, "--fix", "--yes")
    assert code == 0
    assert "doctor --fix does:" in out
    assert f"  • write {places.config}/a.json" in out
    assert "as installed: fail → pass" in out
    assert out.splitlines()[-1].startswith("5 pass, 0 warn, 0 fail")


def test_dry_run_changes_nothing_and_keeps_the_code(shell, capsys):
    places = install(shell)
    lose(shell, places)
    before = tree(shell)
    code, out = doctor(capsys, "--fix", "--dry-run")
    assert (code, "write " in out) == (3, True)
    code, out = doctor(capsys, "--fix", "--dry-run", "--json")
    document = json.loads(out)
    assert (code, document["exit_code"], document["fixes"][0]["done"]) == (3, 3, False)
    assert tree(shell) == before


def test_json_tells_what_was_done(shell, capsys):
    places = install(shell)
    lose(shell, places)
    code, out = doctor(capsys, "--fix", "--yes", "--json")
    document = json.loads(out)
    assert (code, document["exit_code"]) == (0, 0)
    assert [(step["done"], step["problem"]) for step in document["fixes"]] == [(True, None)]


def test_a_step_that_fails_is_exit_code_1(shell, capsys, monkeypatch):
    places = install(shell)
    lose(shell, places)

    def refuse(*_: object) -> None:
        raise LocalOpusError("x: it went wrong", "try `local-opus install`")

    monkeypatch.setattr(restoring, "restore", refuse)
    code, out = doctor(capsys, "--fix", "--yes")
    assert (code, "not done: x: it went wrong" in out) == (1, True)


def test_nothing_to_mend_asks_nobody(shell, capsys):
    install(shell)
    code, out = doctor(capsys, "--fix", "--yes")
    assert (code, "Nothing of this can be fixed here by itself." in out) == (0, True)


# -- the action --------------------------------------------------------------------------------

FILE = "/opt/lo/secret"


@pytest.mark.parametrize(
    ("later", "kept", "ends"),
    [(None, None, 0o644), (0o640, f"{FILE}: its mode was changed to 0640", 0o640), (0o644, None, 0o644)],
)  # fmt: skip
def test_the_mode_comes_back_unless_it_was_changed_since(host, later, kept, ends):
    write(host, FILE, "x", 0o644)
    action = build("set_mode", {"path": FILE, "mode": 0o600})
    assert action.inspect(host).state is State.DIFFERENT
    before = action.capture(host)
    after = action.execute(host, before, lambda *_: None)
    assert action.inspect(host).state is State.PRESENT
    if later is not None:
        at(host, FILE).chmod(later)
    assert action.revert(host, before, after).kept == kept
    assert at(host, FILE).stat().st_mode & 0o777 == ends


def test_a_file_that_is_gone_is_no_matter(host):
    action = build("set_mode", {"path": FILE, "mode": 0o600})
    assert action.inspect(host).state is State.ABSENT
    assert action.execute(host, action.capture(host), lambda *_: None) == {"mode": 0o600}
    assert action.revert(host, {"mode": 0o644}, {"mode": 0o600}).kept is None


def test_a_part_of_a_plan_takes_nothing_else_back(host):
    places = install(host)
    journal = open_journal(host, places)
    plan = restoring._planned(journal, ["config:a"])
    from local_opus.values import Plan

    part = Plan(
        profile="p", scope=Scope.USER, root="/", model=None, device=None, actions=tuple(plan)
    )
    Applier(journal).apply(part, journal.history.last_run, dict, whole=False)
    assert at(host, f"{places.config}/b.json").exists()
    assert (
        one(checks.REGISTRY[[c.id for c in checks.REGISTRY].index("drift")], context(host)).state
        == "pass"
    )
