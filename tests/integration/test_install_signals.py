"""Signals, readers that leave and terminals that close, at every stage of the real program.

One home goes through it all, in the order of the tests below.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from node_program import MODEL, Ended, Program, Tree, tree

Line = Mapping[str, Any]


@pytest.fixture(scope="module")
def program(seeded: Callable[..., Program]) -> Program:
    return seeded()


@pytest.fixture(scope="module")
def before(program: Program) -> Tree:
    return tree(program.home)


def records(program: Program) -> list[Line]:
    return json.loads(program.run("receipt", "--json").stdout)


def in_step(name: str) -> Callable[[Line], bool]:
    return lambda line: line["event"] == "progress" and line["step"].startswith(name)


def started(step: str) -> Callable[[Line], bool]:
    return lambda line: line["event"] == "started" and line["step"] == step


def finished(step: str) -> Callable[[Line], bool]:
    return lambda line: line["event"] == "finished" and line["step"] == step


def assert_stopped(program: Program, ended: Ended, *, running: int = 0) -> None:
    """It stopped with its words and code, and its children with it."""
    assert ended.code == 130, ended.err
    lines = ended.err.splitlines()
    assert [line[:9] for line in lines] == ["stopped: ", "   next: "], ended.err
    assert "interrupted; what was " in lines[0]
    found = program.wait_for_processes(lambda processes: len(processes) == running)
    assert len(found) == running, found


STAGES = [
    ("the download", signal.SIGTERM, in_step("download "), ("begin", "weights")),
    ("the conversion", signal.SIGHUP, in_step(f"convert {MODEL}"), ("begin", "variant")),
    ("a file", signal.SIGTERM, finished("config:model"), None),
    ("the start of the server", signal.SIGHUP, in_step("load the model"), ("begin", "server")),
    ("the self-test", signal.SIGTERM, started("self-test"), ("done", "server")),
]


@pytest.mark.parametrize(
    ("number", "wanted", "last"), [item[1:] for item in STAGES], ids=[item[0] for item in STAGES]
)
def test_a_signal_in(program, before, number, wanted, last):
    ended = program.run_until(
        wanted, lambda child: child.send_signal(number), *program.install_words()
    )
    # A server that was started is left to the next run, as a kill would leave it.
    assert_stopped(program, ended, running=2 if last and last[1] == "server" else 0)
    written = records(program)
    assert "finished" not in [record["event"] for record in written]
    if last is not None:
        assert (written[-1]["event"], written[-1]["id"]) == last


def test_signals_while_it_stops_change_nothing(program, before):
    def hail(child: subprocess.Popen[str]) -> None:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            child.send_signal(number)
            time.sleep(0.002)  # apart, so that the kernel does not make them one

    ended = program.run_until(started("self-test"), hail, *program.install_words())
    assert_stopped(program, ended, running=2)


def test_the_reader_of_the_words_leaves(program, before):
    with program.start(*program.install_words()) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith("This machine")
        child.stdout.close()
        said = child.stderr.read()
    assert (child.returncode, said) == (0, "")
    assert json.loads(program.run("status", "--json").stdout)["ready"] is True
    assert program.install().stdout.splitlines()[-1] == "no changes"


@pytest.mark.parametrize("words", [("receipt",), ("receipt", "--json"), ("models", "list"),
                                   ("verify", "--quick"), ("chat", "Count to 100.")], ids=" ".join)  # fmt: skip
def test_nobody_reads_what_is_only_told(program, before, words):
    with program.start(*words) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
    assert (child.returncode, said) == (0, "")


@pytest.mark.parametrize(("words", "code"), [(("receipt",), 1), (("status",), 1), (("--help",), 1),
                                             (("--external-api", "--dry-run"), 1)], ids=str)  # fmt: skip
def test_the_disk_of_the_output_is_full(program, before, words, code):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-s", "-P", "-m", "local_opus.cli", *words],
            env=program.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == code
    assert done.stderr.splitlines() == [
        "error: standard output: no space left on device; not all was told",
        "  fix: Send the output where there is room.",
    ]


def test_a_signal_in_the_uninstall(program, before):
    first: list[str] = []

    def wanted(line: Line) -> bool:
        if line["event"] == "finished":
            first.append(line["step"])
        return len(first) == 3

    ended = program.run_until(
        wanted, lambda child: child.send_signal(signal.SIGTERM), "uninstall", "--purge", "--yes"
    )
    assert_stopped(program, ended)
    assert "taken back so far" in ended.err
    reverted = [record["id"] for record in records(program) if record["event"] == "reverted"]
    assert first == reverted[: len(first)]
    program.run("uninstall", "--purge", "--yes")
    assert tree(program.home) == before
    assert program.processes() == {}


# -- an install that makes its environment, in a home of its own --------------------------------


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


class Terminal:
    """A program on a terminal of its own, whose session it leads."""

    def __init__(self, program: Program, *words: str, ignoring: tuple[int, ...] = ()) -> None:
        self.master, slave = pty.openpty()

        def lead() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in ignoring:
                signal.signal(number, signal.SIG_IGN)

        self.child = subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "local_opus.cli", *words],
            env=program.environ, cwd=program.home, stdin=slave, stdout=slave, stderr=slave,
            preexec_fn=lead,  # noqa: PLW1509 - the tests have one thread here
        )  # fmt: skip
        os.close(slave)

    def close(self) -> int:
        os.close(self.master)
        return self.child.wait(60)


def test_the_terminal_closes(empty):
    terminal = Terminal(empty, *CLOUD)
    wait_for(lambda: begun(empty, "environment"))
    assert terminal.close() == 130
    assert empty.wait_for_processes(lambda found: not found) == {}
    assert "finished" not in [record["event"] for record in records(empty)]
    empty.run("uninstall", "--yes")


def test_the_terminal_closes_and_the_caller_wants_it_to_go_on(empty):
    """As under nohup, with the words left on the terminal: they are lost, the install is not."""
    terminal = Terminal(empty, *CLOUD, ignoring=(signal.SIGHUP,))
    wait_for(lambda: begun(empty, "environment"))
    assert terminal.close() == 0
    assert empty.run(*CLOUD).stdout.splitlines()[-1] == "no changes"
    terminal = Terminal(empty, "uninstall", "--yes", ignoring=(signal.SIGHUP,))
    assert terminal.close() == 0


def test_the_terminal_closes_at_a_question(empty):
    terminal = Terminal(empty)
    time.sleep(0.5)
    assert terminal.close() == 130
