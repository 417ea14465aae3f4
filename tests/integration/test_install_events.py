"""--json of real runs: every line holds to the schema, in the order that the document promises."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from node_program import MODEL, Program, checked, tree


@pytest.fixture
def program(checkout_copy: Path, tmp_path: Path, _pip_cache: str) -> Iterator[Program]:
    program = Program(checkout_copy, tmp_path / "person", _pip_cache)
    yield program
    program.end_all()


def lines(program: Program, *words: str, code: int = 0) -> list[Mapping[str, Any]]:
    """Run to the end; return the lines, which are whole and in order."""
    done = program.run(*words, code=code)
    found = [checked(line) for line in done.stdout.splitlines()]
    assert [line["seq"] for line in found] == list(range(1, len(found) + 1))
    assert found[0]["event"] == "begin"
    return found


def told(found: list[Mapping[str, Any]]) -> list[str]:
    """Return the events in order, each run of the same once, without words for people."""
    names = [line["event"] for line in found if line["event"] not in {"message", "progress"}]
    return [name for index, name in enumerate(names) if names[index - 1 : index] != [name]]


def steps(found: list[Mapping[str, Any]], event: str) -> list[str]:
    return [line["step"] for line in found if line["event"] == event]


def test_an_image_from_answers_to_uninstall(program, tmp_path):
    image = tmp_path / "image"
    image.mkdir()
    answers = tmp_path / "a.toml"
    answers.write_text(
        'profile = "external-api"\nroot = "image"\nscope = "system"\nyes = true\njson = true\n'
    )
    program.environ.pop("LOCAL_OPUS_SCOPE")
    install = ("install", "--answers", str(answers))

    (*_, plan) = lines(program, *install, "--dry-run")
    ids = [action["id"] for action in plan["actions"]]
    assert plan["pending"] == [*ids]
    assert tree(image) == {}

    found = lines(program, *install, "--save-answers", str(tmp_path / "saved.toml"))
    assert told(found)[:4] == ["begin", "facts", "plan", "answers_saved"]
    assert told(found)[-1] == "installed"
    assert steps(found, "started") == steps(found, "finished") != []
    assert set(steps(found, "started")) <= set(ids)
    (done,) = [line for line in found if line["event"] == "installed"]
    assert done["self_test"].startswith("not run")
    assert "yes = true" in (tmp_path / "saved.toml").read_text()

    assert told(lines(program, *install)) == ["begin", "facts", "no_changes"]
    (*_, plan) = lines(program, "install", "--answers", str(tmp_path / "saved.toml"), "--dry-run", "--json")  # fmt: skip
    assert plan["pending"] == []

    words = ("uninstall", "--root", str(image), "--scope", "system", "--yes", "--json")
    found = lines(program, *words)
    assert told(found)[-1] == "uninstalled"
    assert {line["outcome"] for line in found if line["event"] == "finished"} == {"taken back"}
    (gone,) = [line for line in found if line["event"] == "uninstalled"]
    assert (gone["nothing"], gone["kept"], gone["weights_left"]) == (False, [], 0)
    assert tree(image) == {}
    (gone,) = [line for line in lines(program, *words) if line["event"] == "uninstalled"]
    assert gone["nothing"] is True


def test_a_server_and_what_was_edited(seeded):
    program = seeded("gguf-q4_1", "cpu-q4_1")
    found = lines(program, *program.install_words("--json"))
    (done,) = [line for line in found if line["event"] == "installed"]
    assert done["url"] == f"http://127.0.0.1:{program.port}"
    assert (done["model"], done["profile"]) == (MODEL, "local-opus")
    low, high = done["canary_band"]
    assert low <= done["canary"] <= high
    assert done["tokens_per_second"] > 0
    assert steps(found, "finished")[-1] == "self-test"

    edited = program.config / "generation.json"
    edited.write_text(json.dumps({**json.loads(edited.read_text()), "max_tokens": 7}))
    found = lines(program, *program.install_words("--json"))
    assert [str(edited) in line["text"] for line in found if line["event"] == "kept"] == [True]
    found = lines(program, "uninstall", "--purge", "--yes", "--json")
    assert {"kept", "taken back"} == {
        line["outcome"] for line in found if line["event"] == "finished"
    }
    (gone,) = [line for line in found if line["event"] == "uninstalled"]
    assert str(edited) in gone["kept"][0]


def test_an_error_of_a_real_run_is_its_last_line(program):
    with socket.create_server(("127.0.0.1", program.port)):
        found = lines(program, *program.install_words("--json"), code=4)
    assert told(found) == ["begin", "facts", "plan", "error"]
    assert found[-1]["exit_code"] == 4
    assert f"port {program.port}" in found[-1]["message"]
    assert "--port" in found[-1]["remedy"]


def test_a_rolled_back_install_says_so_before_its_error(program, tmp_path):
    image = tmp_path / "image"
    (image / "usr/local").mkdir(parents=True)
    (image / "usr/local/bin").write_text("no folder")
    before = tree(image)
    words = ("--external-api", "--root", str(image), "--scope", "system", "--yes", "--json")
    found = lines(program, *words, code=1)
    assert found[-1]["event"] == "error"
    back = [line for line in found if line["event"] == "finished" and line["outcome"] == "taken back"]  # fmt: skip
    assert back
    assert tree(image) == before
