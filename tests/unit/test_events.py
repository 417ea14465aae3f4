"""JSON lines: what docs/events.schema.json says of them, and that they are said in order."""

from __future__ import annotations

import ast
import io
import json
import os
from pathlib import Path

import click
import pytest

from local_opus import __version__, cli
from local_opus.errors import BadInputError, ExitCode, LocalOpusError
from local_opus.report import events, reporter
from local_opus.report.lines import JsonLines
from local_opus.report.reporter import JsonReporter, Reporter

WRITE_SCHEMA = (
    "it is out of date: run `PYTHONPATH=src python -c 'from local_opus.report.events import schema_text; "
    'print(schema_text(), end="")\' > docs/events.schema.json`'
)


def schema() -> dict[str, dict[str, dict[str, object]]]:
    found: dict[str, dict[str, dict[str, object]]] = json.loads(events.schema_text())
    return found


def names() -> set[str]:
    return {str(name) for name in schema()["discriminator"]["mapping"]}


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    for line in stream.getvalue().splitlines():
        events.read(line)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_schema_is_current(checkout: Path) -> None:
    path = checkout / "docs" / "events.schema.json"
    assert path.read_text() == events.schema_text(), f"{path}: {WRITE_SCHEMA}"


def test_the_schema_describes_every_field() -> None:
    silent = [
        f"{name}.{field}"
        for name, part in schema()["$defs"].items()
        if "event" in part.get("properties", {})
        for field, about in part["properties"].items()
        if field not in {"event", "actions"}
        and not (isinstance(about, dict) and ("description" in about or "$ref" in str(about)))
    ]
    plan = {"Planned.profile", "Planned.root", "Planned.model", "Planned.schema_version"}
    assert set(silent) <= plan


def test_every_event_of_the_code_is_in_the_schema(checkout: Path) -> None:
    told = {
        "started",
        "progress",
        "finished",
        "message",
        "begin",
        "error",
    }  # by methods of their own
    for path in (checkout / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and ast.unparse(node.func) == "tell.event"
            if called and isinstance(node, ast.Call):
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                told.add(str(node.args[0].value))
    assert told == names()


def test_every_event_is_in_the_document(checkout: Path) -> None:
    text = (checkout / "docs" / "unattended.md").read_text()
    assert [name for name in names() if f"`{name}`" not in text] == []


def everything(tell: Reporter) -> None:
    tell.say("[bold]words[/bold]")
    tell.started("folder:prefix", "create folder /x")
    tell.progress("download", 1, None)
    tell.progress("download", 9, 9)
    tell.finished("folder:prefix", "done")
    tell.event("kept", {"text": "/x: edited"})
    tell.event("no_changes", {"profile": "military"})


def test_lines_are_numbered_and_begin_comes_first() -> None:
    stream = io.StringIO()
    everything(JsonReporter(JsonLines("install", stream)))
    found = lines_of(stream)
    assert found[0] == {
        "event": "begin", "seq": 1, "schema_version": 1, "program": __version__, "command": "install",
    }  # fmt: skip
    assert [line["seq"] for line in found] == list(range(1, len(found) + 1))
    assert [line["event"] for line in found][1:3] == ["message", "started"]
    assert found[1]["text"] == "words"


def test_an_error_is_the_last_line_with_all_that_is_told() -> None:
    stream = io.StringIO()
    lines = JsonLines("install", stream)
    lines.write("no_changes", {"profile": "p"})
    lines.error(BadInputError("what", "do", details=["one", "two"]), ExitCode.BAD_INPUT)
    assert lines_of(stream)[-1] == {
        "event": "error", "seq": 3, "message": "what", "remedy": "do", "details": ["one", "two"],
        "exit_code": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "message", "text": "no number"}',
        '{"event": "message", "seq": 0, "text": "x"}',
        '{"event": "message", "seq": 1}',
        '{"event": "message", "seq": 1, "text": "x", "more": 1}',
        '{"event": "unknown", "seq": 1}',
        '{"event": "finished", "seq": 1, "step": "x", "outcome": "odd"}',
        "{",
    ],
)
def test_what_the_schema_refuses(line: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        events.read(line)


def test_a_reporter_goes_on_with_the_lines_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = JsonLines("uninstall")
    with click.Context(click.Command("x"), obj=lines):
        reporter.make(as_json=True).say("one")
        reporter.make(as_json=True).say("two")
    lines.error(LocalOpusError("three", "do"), ExitCode.FAILED)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["seq"] for line in found] == [1, 2, 3, 4]
    assert found[0]["command"] == "uninstall"


# --- errors, through the command line

WRONG = [
    (("instal", "--json"), "install", 2),  # no command: the default one is named
    (("install", "--modle", "x", "--json"), "install", 2),
    (("--json", "--port", "x"), "install", 2),
    (("--port", "x", "--json"), "install", 2),
    (("--json",), "install", 2),
    (("uninstall", "--json"), "uninstall", 2),
    (("install", "--profile", "none", "--yes", "--json"), "install", 2),
    (("verify", "/nowhere", "--json"), "verify", 2),
    (("models", "show", "none", "--json"), "models", 2),
    (("receipt", "--scope", "user", "--json"), "receipt", 1),
]


@pytest.mark.parametrize(
    ("words", "command", "exit_code"), WRONG, ids=[" ".join(row[0]) for row in WRONG]
)
def test_an_error_is_told_twice(capsys, words, command, exit_code):
    assert cli.main(list(words)) == exit_code
    out, err = capsys.readouterr()
    begin, error = (json.loads(line) for line in out.splitlines())
    assert begin["command"] == command
    assert err.splitlines()[0] == f"error: {error['message']}"
    assert err.splitlines()[-1] == f"  fix: {error['remedy']}"
    assert (error["event"], error["exit_code"]) == ("error", exit_code)
    for line in out.splitlines():
        events.read(line)


@pytest.mark.parametrize(
    ("words", "variable"),
    [(("verify", "/nowhere"), ""), (("verify", "/nowhere"), "0"), (("--", "--json"), "")],
)
def test_no_json_where_none_is_asked_for(capsys, monkeypatch, words, variable):
    monkeypatch.setenv("LOCAL_OPUS_JSON", variable)
    assert cli.main(list(words)) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("variable", ["1", "true", "YES", " on "])
def test_a_variable_asks_for_json(capsys, monkeypatch, variable):
    monkeypatch.setenv("LOCAL_OPUS_JSON", variable)
    assert cli.main(["--port", "x"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["exit_code"] == 2


def test_an_answers_file_asks_for_json(capsys, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('json = true\nprofile = "none.toml"\nyes = true\n')
    assert cli.main(["--answers", str(path)]) == 2
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in found] == ["begin", "error"]


def test_a_variable_outranks_that(capsys, tmp_path, monkeypatch):
    path = tmp_path / "a.toml"
    path.write_text('json = true\nprofile = "none.toml"\nyes = true\n')
    monkeypatch.setenv("LOCAL_OPUS_JSON", "0")
    assert cli.main(["--answers", str(path)]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("raised", "exit_code"),
    [(KeyboardInterrupt(), 130), (ZeroDivisionError("x"), 1), (LocalOpusError("x", "y"), 1)],
)
def test_whatever_is_raised_is_told_in_json(tmp_path, monkeypatch, raised, exit_code):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        raise raised

    stream = io.StringIO()
    lines = JsonLines("install", stream)
    lines.wanted = True
    assert cli.run(fail, lines=lines) == exit_code
    assert lines_of(stream)[-1]["exit_code"] == exit_code


def test_nobody_reads_the_error(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        lines = JsonLines("install")
        lines.wanted = True
        assert cli.run(lambda: 1 / 0, lines=lines) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_part_that_follows_at_once_is_told(capsys):
    tell = JsonReporter(JsonLines("install"))
    for part, done in (("weights", 1), ("weights", 2), ("canary", 0), ("canary", 1)):
        tell.progress(part, done, None)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["step"], one["done"]) for one in told if one["event"] == "progress"] == [
        ("weights", 1),
        ("canary", 0),
    ]
