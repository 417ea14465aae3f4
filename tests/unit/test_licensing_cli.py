"""A licence that is not free, on the command line: asked for, given, or refused with nothing done."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from local_opus import answers, cli, install, shelf
from local_opus.cli import choices, prompts
from local_opus.facts import gather
from local_opus.values import DiskFacts, HostFacts
from machines import MACHINES, machine_host

LLAMA = "llama-3.2-1b-instruct-q8_0"
WORDS = ("install", "--local-opus", "--model", LLAMA, "--scope", "user", "--device", "CPU")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> HostFacts:
    root = tmp_path_factory.mktemp("machine")
    found = gather(machine_host(root, MACHINES["meteor-lake-155h"]), disk_path="/var/lib")
    disk = DiskFacts(path="/var", total=10**12, free=5 * 10**11, free_inodes=None)
    return found.model_copy(update={"disk": disk})


@pytest.fixture(autouse=True)
def _machine(facts: HostFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "detect", lambda host, locations: facts)
    monkeypatch.setattr(shelf, "gather", lambda *_, **__: facts)


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[install.Choice]:
    """What would be installed; nothing is."""
    found: list[install.Choice] = []

    def apply(host: object, choice: install.Choice, tell: object) -> install.Result:
        found.append(choice)
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "install", apply)
    monkeypatch.setattr(choices.own_modules, "keep", lambda prefix: None)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """Someone at a terminal who gives one answer to all."""

    def at_terminal(answer: bool) -> list[str]:
        import questionary

        heard: list[str] = []

        def confirm(question: str, *, default: bool) -> object:
            heard.append(question)
            return type("Question", (), {"ask": lambda self: answer})()

        monkeypatch.setattr(prompts, "on_terminal", lambda: True)
        monkeypatch.setattr(questionary, "confirm", confirm)
        monkeypatch.setattr(prompts, "select", lambda *_, **__: "go")
        return heard

    return at_terminal


def said(*words: str) -> tuple[int, list[dict[str, object]], str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*words, "--json"])
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def licensed(choice: install.Choice) -> object:
    (fetch,) = (one for one in choice.plan.actions if one.kind == "fetch_weights")
    return fetch.params.get("license_accepted")


def test_without_acceptance_nothing_is_changed(home: Path, applied):
    code, lines, err = said(*WORDS, "--yes")
    assert code == 2
    assert (
        lines[-1]["message"]
        == f"{LLAMA}: its licence llama3.2 is not a free one, and must be accepted"
    )
    assert "https://huggingface.co/hugging-quants/" in str(lines[-1]["remedy"])
    assert "--accept-license" in err
    assert "plan" not in [line["event"] for line in lines]
    assert (applied, list(home.iterdir())) == ([], [])


@pytest.mark.parametrize("way", ["flag", "variable", "answers"])
def test_who_accepts_it_goes_on(home: Path, tmp_path, monkeypatch, applied, way):
    words = [*WORDS, "--yes"]
    if way == "flag":
        words.append("--accept-license")
    elif way == "variable":
        monkeypatch.setenv("LOCAL_OPUS_ACCEPT_LICENSE", "1")
    else:
        path = tmp_path / "a.toml"
        path.write_text("accept_license = true\n")
        words += ["--answers", str(path)]
    assert said(*words)[0] == 130
    assert licensed(applied[0]) == "llama3.2"


def test_a_free_licence_is_not_recorded(home: Path, applied):
    words = [word if word != LLAMA else "smollm2-135m" for word in WORDS]
    assert said(*words, "--yes", "--accept-license")[0] == 130
    assert licensed(applied[0]) is None


def test_a_dry_run_tells_it_and_shows_the_plan(home: Path):
    code, lines, _ = said(*WORDS, "--dry-run")
    assert code == 0
    assert "plan" in [line["event"] for line in lines]
    assert any("must be accepted" in str(line.get("text")) for line in lines)
    assert list(home.iterdir()) == []


def test_a_person_is_asked(home: Path, applied, asked):
    heard = asked(answer=True)
    code, _, err = said(*WORDS)
    assert code == 130
    assert heard == ["Do you accept this licence?"]
    assert "llama3.2" in err
    assert "https://huggingface.co/hugging-quants/" in err
    assert licensed(applied[0]) == "llama3.2"


def test_a_person_who_declines_changes_nothing(home: Path, applied, asked):
    asked(answer=False)
    code, lines, _ = said(*WORDS)
    assert (code, lines[-1]["message"]) == (130, "nothing was changed")
    assert (applied, list(home.iterdir())) == ([], [])


def test_what_a_person_accepted_is_saved(home: Path, tmp_path, applied, asked):
    asked(answer=True)
    path = tmp_path / "saved.toml"
    said(*WORDS, "--save-answers", str(path))
    assert answers.parse(path.read_bytes(), "saved").accept_license is True
    assert said("install", "--answers", str(path), "--yes")[0] == 130
    assert licensed(applied[-1]) == "llama3.2"


def test_a_dry_run_saves_no_consent(home: Path, tmp_path):
    path = tmp_path / "saved.toml"
    said(*WORDS, "--dry-run", "--save-answers", str(path))
    assert answers.parse(path.read_bytes(), "saved").accept_license is None


def test_a_pull_without_acceptance_changes_nothing(home: Path):
    code, lines, _ = said("models", "pull", LLAMA, "--scope", "user")
    assert (code, lines[-1]["exit_code"]) == (2, 2)
    assert "must be accepted" in str(lines[-1]["message"])
    assert list(home.iterdir()) == []


def test_a_pull_asks_a_person(home: Path, asked, monkeypatch):
    heard = asked(answer=True)
    given: list[bool] = []
    monkeypatch.setattr(
        shelf, "pull", lambda *_, accept_license, **__: given.append(accept_license) or []
    )
    assert said("models", "pull", LLAMA, "--scope", "user")[0] == 0
    assert (heard, given) == (["Do you accept this licence?"], [True])


def test_show_and_list_say_what_is_asked(capsys, home: Path):
    assert cli.main(["models", "show", LLAMA, "--scope", "user"]) == 0
    out = capsys.readouterr().out
    assert "llama3.2 (to accept)" in out
    assert "--accept-license" in out
    assert cli.main(["models", "show", LLAMA, "--scope", "user", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["license_is_free"] is False
    assert found["license_page"].startswith("https://huggingface.co/")
