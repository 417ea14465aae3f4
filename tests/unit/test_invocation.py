"""How texts name this program: as the one who reads them has to type it."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from local_opus import cli, invocation
from local_opus.errors import LocalOpusError

#: A command in backticks, to its closing backtick or to where a value is put in.
NAMED = re.compile(r"`(?:local-opus|\./installer)(?: ([^`]*))?")


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("installer", "./installer"),
        ("/home/u/.local/bin/local-opus", "local-opus"),
        ("/srv/installer", "local-opus"),
        ("", "local-opus"),
    ],
)
def test_the_name_is_the_one_that_was_typed(monkeypatch, argv0, name):
    monkeypatch.setattr("sys.argv", [argv0])
    assert invocation.name() == name


@pytest.mark.parametrize(
    ("text", "from_checkout"),
    [
        ("See `local-opus logs`.", "See `./installer logs`."),
        ("`local-opus models list` or `local-opus start`", "`./installer models list` or `./installer start`"),
        ("Use the installed `local-opus`.", "Use the installed `local-opus`."),
        ("the local-opus service; /opt/local-opus is `full`", "the local-opus service; /opt/local-opus is `full`"),
    ],
)  # fmt: skip
def test_a_command_in_a_text_is_what_the_reader_types(monkeypatch, text, from_checkout):
    monkeypatch.setattr("sys.argv", ["local-opus"])
    assert invocation.as_typed(text) == text
    monkeypatch.setattr("sys.argv", ["installer"])
    assert invocation.as_typed(text) == from_checkout


@pytest.mark.parametrize(("argv0", "name"), [("installer", "./installer"), ("x", "local-opus")])
def test_errors_and_usage_name_it(capsys, monkeypatch, argv0, name):
    def fail() -> None:
        raise LocalOpusError("no server", "Run `local-opus install --local-opus` first.")

    monkeypatch.setattr("sys.argv", [argv0])
    assert cli.run(fail) == 1
    assert f"fix: Run `{name} install --local-opus` first." in capsys.readouterr().err
    assert cli.main(["status", "--no-such-option"]) == 2
    assert f"See `{name} status --help`." in capsys.readouterr().err
    assert cli.main(["detect", "--help"]) == 0
    assert f"Usage: {name} detect" in capsys.readouterr().out


def texts(source: str) -> list[str]:
    """Every string of a source that is no docstring, what is put into it as a NUL."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in node.values}  # fmt: skip
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "\0"
                                 for part in node.values))  # fmt: skip
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if id(node) not in docs | inside else []
    return found


def wrong(words: str) -> str | None:
    """What stands in the way of typing ``local-opus WORDS``; None: nothing."""
    typed = shlex.split(words.partition("\0")[0])
    command: click.Command | None = cli.group
    context = click.Context(cli.group)
    for word in typed:
        options = {opt for param in command.params for opt in param.opts}
        if word.startswith("-"):
            if word not in options | {"--help", "--debug"}:
                return f"no option {word}"
        elif isinstance(command, click.Group):
            command = command.get_command(context, word)
            if command is None:
                return f"no command {word}"
    return None


def test_texts_name_commands_that_exist_and_never_the_checkouts_program(checkout):
    package = checkout / "src" / "local_opus"
    named: list[tuple[Path, str, str]] = [
        (path, found[0], found[1] or "")
        for path in sorted(package.rglob("*.py"))
        for text in texts(path.read_text())
        for found in NAMED.finditer(text)
    ]
    assert len(named) > 20
    problems = [
        f"{path.name}: {whole}: {problem}"
        for path, whole, words in named
        if (problem := "say local-opus" if whole.startswith("`./") else wrong(words))
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [("doctors", "no command doctors"), ("models list --fit", "no option --fit"), ("verify \0", None),
     ("", None), ("uninstall --purge", None)],
)  # fmt: skip
def test_a_wrong_command_is_found(words, problem):
    assert wrong(words) == problem
