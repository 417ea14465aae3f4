"""The store on the command line: listed, pruned and removed, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local_opus import cli
from local_opus.host import Host
from local_opus.locations import Locations, locate
from local_opus.values import Scope

USER = ("--scope", "user")


@pytest.fixture
def machine(home: Path) -> Host:
    return Host()


@pytest.fixture
def places(machine: Host) -> Locations:
    return locate(Scope.USER, machine.environ)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(["models", *words, *USER])
    found = capsys.readouterr()
    return code, found.out, found.err


def partial(machine: Host, places: Locations, model: str = "smollm2-135m") -> Path:
    folder = f"{places.models}/{model}/.partial/gguf-q4_1"
    machine.files.make_folders(folder)
    machine.files.write_atomic(f"{folder}/x.gguf", bytes(2048))
    return Path(folder)


def test_the_store_alone(capsys, machine, places):
    folder = partial(machine, places)
    code, out, _ = said(capsys, "list", "--stored")
    assert code == 0
    assert "qwen3" not in out
    assert "smollm2-135m gguf-q4_1: 2 KiB" in out
    code, out, _ = said(capsys, "list", "--stored", "--json")
    found = json.loads(out)
    assert set(found) == {"schema_version", "store"}
    assert [one["path"] for one in found["store"]["partials"]] == [str(folder)]


def test_the_list_has_both(capsys, machine, places):
    partial(machine, places, "somebodys")
    code, out, _ = said(capsys, "list", "--json")
    found = json.loads(out)
    assert code == 0
    assert len(found["models"]) > 50
    assert found["store"]["partials"][0]["model"] == "somebodys"


def test_a_dry_run_prunes_nothing(capsys, machine, places):
    folder = partial(machine, places)
    code, out, _ = said(capsys, "prune", "--dry-run")
    assert (code, "1 would go, 2 KiB." in out) == (0, True)
    code, out, _ = said(capsys, "prune", "--dry-run", "--json")
    found = json.loads(out)
    assert (found["dry_run"], found["freed"], len(found["removed"])) == (True, 0, 1)
    assert (folder / "x.gguf").stat().st_size == 2048


def test_a_prune_asks_first(capsys, machine, places):
    folder = partial(machine, places)
    code, _, err = said(capsys, "prune")
    assert (code, "not a terminal, and no --yes" in err) == (2, True)
    assert (folder / "x.gguf").exists()
    code, out, _ = said(capsys, "prune", "--yes")
    assert (code, "2 KiB freed." in out) == (0, True)
    assert not folder.exists()
    code, out, _ = said(capsys, "prune", "--yes", "--json")
    assert (code, json.loads(out)["removed"]) == (0, [])


def test_a_removal_says_what_it_freed(capsys, machine, places):
    partial(machine, places)
    code, out, _ = said(capsys, "remove", "smollm2-135m", "--yes", "--json")
    found = json.loads(out)
    assert (code, found["model"], found["freed"]) == (0, "smollm2-135m", 2048)
    assert not Path(f"{places.models}/smollm2-135m").exists()
    code, out, _ = said(capsys, "remove", "smollm2-135m", "--yes", "--json")
    assert code == 2
    assert json.loads(out.splitlines()[-1])["event"] == "error"


def test_a_removal_asks_and_names_no_flag_that_it_lacks(capsys, machine, places):
    partial(machine, places)
    code, _, err = said(capsys, "remove", "smollm2-135m")
    assert (code, "not a terminal" in err, "--dry-run" in err) == (2, True, False)
    assert Path(f"{places.models}/smollm2-135m").exists()


def test_a_removal_of_what_another_model_has_too(capsys, machine, places):
    whole = partial(machine, places)
    (Path(places.models) / "other").mkdir()
    for path in whole.iterdir():
        (Path(places.models) / "other" / path.name).hardlink_to(path)
    code, out, _ = said(capsys, "remove", "smollm2-135m", "--yes")
    assert (code, "nothing freed, for its files are shared" in out) == (0, True)


def test_completion_offers_what_is_stored(machine, places):
    from click.shell_completion import BashComplete

    partial(machine, places, "somebodys")
    completion = BashComplete(cli.group, {}, "local-opus", "_LOCAL_OPUS_COMPLETE")
    words = ["models", "remove", "--scope", "user"]
    assert [one.value for one in completion.get_completions(words, "some")] == ["somebodys"]
