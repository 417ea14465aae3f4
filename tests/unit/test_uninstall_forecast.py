"""What `uninstall --dry-run` says is what an uninstall then does; it changes nothing itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import cli, planner, state
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.host import locks
from local_opus.journal import Journal
from local_opus.locations import Locations, locate
from local_opus.receipts import Receipt
from local_opus.report import events
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import forecast, uninstall
from local_opus.values import PlannedAction, Scope


class Heard(QuietReporter):
    """Notes the steps that were taken back."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def finished(self, step: str, outcome: str) -> None:
        if outcome == "taken back":
            self.steps.append(step)


@pytest.fixture
def places(host: FakeHost) -> Locations:
    """Those of an install: the folders of the store and two files."""
    places = locate(Scope.USER, host.environ)
    state.arrive(host, places)
    with locks.exclusive(host.files, places.lock):
        applier = Applier(Journal(host, Receipt(host, places.receipt), build, places.roots))
        applier.ensure(planner.store_folder(places))
        host.files.make_folders(places.config)
        for name in ("a", "b"):
            params = {"path": f"{places.config}/{name}", "content": name, "mode": 0o600, "group": None}  # fmt: skip
            applier.ensure(PlannedAction(id=name, kind="write_file", summary=name, params=params))
    return places


def files(host: FakeHost) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in Path(host.root).rglob("*")
    }


def weights(host: FakeHost, places: Locations, *, foreign: bool = False) -> None:
    name = "mine.txt" if foreign else ".partial/x"
    path = Path(f"{host.root}{places.models}/tiny/{name}")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("holds", ["nothing", "weights", "others' files"])
@pytest.mark.parametrize("edited", [False, True])
def test_it_foretells_steps_and_what_stays_and_changes_nothing(host, places, purge, holds, edited):
    if holds != "nothing":
        weights(host, places, foreign=holds != "weights")
    if edited:
        Path(f"{host.root}{places.config}/a").write_text("mine")
    before = files(host)
    said = forecast(host, places, purge=purge)
    assert files(host) == before
    heard = Heard()
    removed = uninstall(host, places, purge=purge, tell=heard)
    assert [one.step for one in said.steps] == heard.steps
    assert said.weights_left == removed.weights_left
    assert set(said.kept) <= set(removed.kept)
    assert len(said.kept) >= edited
    assert said.weights_removed == (7 if purge and holds == "weights" else 0)


def test_without_an_install_it_says_so(host):
    places = locate(Scope.USER, host.environ)
    said = forecast(host, places, purge=True)
    assert (said.steps, said.kept, said.weights_left) == ((), (), 0)
    assert not list(Path(host.root).glob("home/user/*"))


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_lists_it_without_a_terminal(host, places, as_json, capsys, monkeypatch):
    weights(host, places)
    monkeypatch.setattr("local_opus.cli.context.Host", lambda _root: host)
    words = ["uninstall", "--scope", "user", "--dry-run", *(["--json"] if as_json else [])]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    if as_json:
        lines = [json.loads(line) for line in out.splitlines()]
        assert all(events.read(line) for line in out.splitlines())
        back = next(line for line in lines if line["event"] == "way_back")
        assert [one["step"] for one in back["steps"]] == ["b", "a"]
        assert back["weights_left"] == 7
    else:
        assert out.index("/b (") < out.index("/a (")
        assert "0.00 GiB of weights stay" in out


def test_the_remedy_where_nobody_can_be_asked_is_one_that_the_command_takes(capsys):
    assert cli.main(["uninstall"]) == 2
    assert "--dry-run" in capsys.readouterr().err
    assert cli.main(["uninstall", "--dry-run", "--help"]) == 0
