"""How ``status`` is shown: rows by what a key holds, in 80 columns on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from local_opus.report import status
from local_opus.report.status import SECTIONS, Row, Section

RUNNING = {
    "installed": True, "scope": "system", "running": True, "ready": True, "pid": 4711, "how": "systemd",
    "url": "http://127.0.0.1:8000", "model": "m", "device": "CPU", "tuned": None, "weights": "/w",
    "config": "/c", "log": "local-opus.service",
    "sandbox": {
        "verdict": "holds: 58 tries from inside, 44 refused, and each that has to be",
        "holds": True, "details": [f"can't write: {', '.join(f'/folder-{n}' for n in range(30))}"], "report": {},
    },
}  # fmt: skip


def shown(found: dict[str, object], *, terminal: bool = False, columns: int = 80) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=columns, color_system=None)
    status.show(found, console)  # type: ignore[arg-type]
    return out.getvalue().splitlines()


def row(text: str, label: str) -> str:
    """The value of a label's row."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"{label} ")]
    return found[len(label) :].strip()


def test_a_unit_that_has_failed_says_why():
    socket = {"name": "local-opus.socket", "active": "failed", "sub": "failed",
              "reason": "port 8000 on 127.0.0.1: address already in use by nginx (PID 55)"}  # fmt: skip
    target = {"name": "local-opus.target", "active": "active", "sub": "active", "reason": None}
    lines = [line.strip() for line in shown({**RUNNING, "units": [target, socket]})]
    assert any(line.endswith("local-opus.target active (active)") for line in lines)
    assert f"local-opus.socket failed (failed): {socket['reason']}" in lines


def test_sections_and_rows():
    lines = shown(RUNNING)
    assert lines[0] == "Server"
    text = "\n".join(lines)
    assert row(text, "server") == "ready (PID 4711, systemd)"
    assert row(text, "url") == "http://127.0.0.1:8000"
    assert "tuned" not in text
    assert "Sandbox" in lines
    assert row(text, "sandbox").startswith("holds: 58 tries")
    assert "Node" not in lines, "a section without a row is shown"


@pytest.mark.parametrize("columns", [80, 60])
def test_on_a_terminal_no_line_is_longer_than_it(columns):
    lines = shown(RUNNING, terminal=True, columns=columns)
    assert max(map(len, lines)) <= columns
    assert sum("/folder-" in line for line in lines) > 4


def test_into_a_pipe_a_detail_is_one_line():
    assert sum("/folder-" in line for line in shown(RUNNING)) == 1


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({**RUNNING, "ready": False}, "loading (PID 4711, systemd)"),
        ({**RUNNING, "ready": None}, "running (PID 4711, systemd)"),
        ({**RUNNING, "running": False, "ready": False, "pid": None, "how": None}, "stopped"),
    ],
)
def test_the_servers_state(found, words):
    assert row("\n".join(shown(found)), "server") == words


def test_a_stopped_server_is_told_how_to_start():
    lines = shown({**RUNNING, "running": False, "ready": False, "pid": None})
    assert "`local-opus start`" in lines[-1] or "start`" in lines[-1]


def test_without_a_server_the_problem_is_said():
    found = {"installed": False, "running": False, "ready": None, "problem": "none is installed"}
    assert shown(found) == ["No server: none is installed"]


VALUES = {
    "a word": ("x", ["x"]),
    "a number": (3, ["3"]),
    "a list": (["a", "b"], ["a", "b"]),
    "an object": ({"a": "1", "b": {"c": True}, "d": None}, ["a: 1", "b: c yes"]),
    "a verdict": ({"verdict": "v", "details": ["d"], "more": 1}, ["v", "d"]),
    "null": (None, []),
    "empty": ("", []),
    "no items": ([], []),
    "control characters": ("a\x1b[31mb", ["a[31mb"]),
}


@pytest.mark.parametrize(("value", "lines"), VALUES.values(), ids=VALUES.keys())
def test_a_key_of_any_kind_is_shown(monkeypatch, value, lines):
    monkeypatch.setattr(status, "SECTIONS", (Section("Node", (Row("units", "units"),)),))
    found = shown({**RUNNING, "units": value})
    assert [line.removeprefix("units").strip() for line in found[1:]] == lines
    assert found[:1] == (["Node"] if lines else [])


def test_every_key_is_a_row_once():
    keys = [row.key for section in SECTIONS for row in section.rows]
    assert len(keys) == len(set(keys))
