"""Signals and terminals that close while the real program makes an environment."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_program import Program, assert_stopped, in_step, tree
from terminal import Terminal


@pytest.fixture
def empty(checkout_copy: Path, tmp_path: Path, _pip_cache: str) -> Iterator[Program]:
    program = Program(checkout_copy, tmp_path / "person", _pip_cache)
    yield program
    program.end_all()
    assert sorted(tree(program.home)) == []


CLOUD = ("--external-api", "--yes")


def begun(program: Program, step: str) -> bool:
    """Whether the receipt, read without the program, says that a step has begun."""
    path = program.state / "receipt.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return any(f'"id":"{step}' in line and '"begin"' in line for line in lines)


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_signal_while_the_environment_is_made(empty):
    ended = empty.run_until(
        in_step("install packages"), lambda child: child.send_signal(signal.SIGTERM), *CLOUD
    )
    assert_stopped(empty, ended)
    assert "Done." in empty.run(*CLOUD).stdout
    empty.run("uninstall", "--yes")


def on_terminal(program: Program, *words: str, ignoring: tuple[int, ...] = ()) -> Terminal:
    command = [sys.executable, "-s", "-P", "-m", "local_opus.cli", *words]
    return Terminal(command, program.environ, program.home, ignoring)


def test_the_terminal_closes(empty):
    terminal = on_terminal(empty, *CLOUD)
    wait_for(lambda: begun(empty, "environment"))
    assert terminal.close() == 130
    assert empty.wait_for_processes(lambda found: not found) == {}
    written = json.loads(empty.run("receipt", "--json").stdout)
    assert "finished" not in [record["event"] for record in written]
    empty.run("uninstall", "--yes")


def test_the_terminal_closes_and_the_caller_wants_it_to_go_on(empty):
    """As under nohup, with the words left on the terminal: they are lost, the install is not."""
    terminal = on_terminal(empty, *CLOUD, ignoring=(signal.SIGHUP,))
    wait_for(lambda: begun(empty, "environment"))
    assert terminal.close() == 0
    assert empty.run(*CLOUD).stdout.splitlines()[-1] == "no changes"
    terminal = on_terminal(empty, "uninstall", "--yes", ignoring=(signal.SIGHUP,))
    assert terminal.close() == 0


def test_the_terminal_closes_at_a_question(empty):
    terminal = on_terminal(empty)
    time.sleep(0.5)
    assert terminal.close() == 130
