"""What ``status`` found, for a person: sections of rows, each a key of the answer.

A new key of ``control.status`` is one row here. On a terminal lines are broken to its width; what
reads a pipe gets each on a line of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from local_opus.invocation import as_typed

_NARROWEST = 40
_WIDEST = 100
_INDENT = "  "


@dataclass(frozen=True)
class Row:
    """One key of the answer and its label.

    What it holds says how it is shown: a word on one line; a list as a line each; an object with
    ``verdict`` as that line, with its ``details`` below; any other object as a line for each key.
    What is null or empty is left out.
    """

    key: str
    label: str


@dataclass(frozen=True)
class Section:
    """Rows under a title."""

    title: str
    rows: tuple[Row, ...]


SECTIONS: tuple[Section, ...] = (
    Section(
        "Server",
        (
            Row("server", "server"),
            Row("url", "url"),
            Row("model", "model"),
            Row("device", "device"),
            Row("tuned", "tuned"),
            Row("weights", "weights"),
            Row("config", "config"),
            Row("log", "log"),
            Row("keys", "keys"),
            Row("config_problem", "config problem"),
            Row("engine_ended", "engine ended"),
            Row("problem", "problem"),
            Row("fix", "fix"),
        ),
    ),
    Section(
        "Node",
        (
            Row("profile", "profile"),
            Row("lingering", "lingering"),
            Row("unit_lines", "units"),
            Row("monitor", "monitor"),
        ),
    ),
    Section("Posture", (Row("posture", "posture"),)),
    Section("Machine", (Row("machine", "machine"),)),
    Section("Sandbox", (Row("sandbox", "sandbox"), Row("not_enforced", "not enforced"))),
)
_LABEL = max(len(row.label) for section in SECTIONS for row in section.rows) + 2


def show(found: Mapping[str, JsonValue], console: Console) -> None:
    """Print the answer of ``control.status``."""
    if not (found["installed"] or found["running"]):
        _print(console, f"No server: {found['problem']}")
        return
    whole = {"server": _server(found), **found, "unit_lines": _units(found)}
    for section in SECTIONS:
        lines = [line for row in section.rows for line in _lines(row, whole, _width(console))]
        if lines:
            console.print(Text(section.title, style="bold cyan"))
            for line in lines:
                _print(console, line)
    if found.get("url") and not found["running"]:
        _print(console, as_typed("Start it with `local-opus start`."))


def _server(found: Mapping[str, JsonValue]) -> str:
    # None: without a sound config nobody knows where to ask it.
    unready = "running" if found["ready"] is None else "loading"
    up = "ready" if found["ready"] else unready
    who = f" (PID {found['pid']}, {found['how']})" if found["pid"] else ""
    return f"{up if found['running'] else 'stopped'}{who}"


def _units(found: Mapping[str, JsonValue]) -> JsonValue:
    """Return a line for each unit: how it stands, and why it has failed."""
    units = found.get("units")
    lines: list[JsonValue] = []
    for one in units if isinstance(units, list) else []:
        if isinstance(one, dict):
            why = f": {one['reason']}" if one.get("reason") else ""
            lines.append(f"{one['name']} {one['active']} ({one['sub']}){why}")
    return lines


def _lines(row: Row, found: Mapping[str, JsonValue], width: int | None) -> Iterator[str]:
    head, rest = _parts(found.get(row.key))
    if head is None:
        return
    label = f"{row.label:<{_LABEL}}"
    indent = " " * _LABEL
    for number, part in enumerate(_wrap(head, width, _LABEL)):
        yield f"{indent if number else label}{part}"
    for line in rest:
        for number, part in enumerate(_wrap(line, width, _LABEL + 2 * len(_INDENT))):
            yield f"{indent}{_INDENT * (2 if number else 1)}{part}"


def _parts(value: JsonValue) -> tuple[str | None, list[str]]:
    """Return the first line of a value and those below it; None: there is nothing to show."""
    if isinstance(value, dict):
        if "verdict" in value:
            details = value.get("details")
            rest = details if isinstance(details, list) else []
            return str(value["verdict"]), [str(one) for one in rest]
        lines = [f"{name}: {_word(one)}" for name, one in value.items() if one not in (None, "")]
    elif isinstance(value, list):
        lines = [_word(one) for one in value]
    else:
        return (None if value in (None, "", False) else _word(value)), []
    return (lines[0], lines[1:]) if lines else (None, [])


def _word(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_word(one)}" for name, one in value.items())
    return str(value)


def _width(console: Console) -> int | None:
    """Return the columns to break lines at; None: they are not broken."""
    return max(_NARROWEST, min(_WIDEST, console.width)) if console.is_terminal else None


def _wrap(text: str, width: int | None, taken: int) -> list[str]:
    """Return a text as lines of ``width`` columns, of which so many are taken."""
    clean = "".join(letter for letter in as_typed(text) if letter.isprintable())
    if width is None:
        return [clean]
    return textwrap.wrap(clean, width - taken, break_on_hyphens=False, break_long_words=False) or [
        ""
    ]


def _print(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
