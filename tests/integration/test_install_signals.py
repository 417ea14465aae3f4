"""Signals, readers that leave and terminals that close, at every stage of the real program.

One home goes through it all, in the order of the tests below.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from node_program import MODEL, Program, Tree, assert_stopped, in_step, tree, without_progress

Line = Mapping[str, Any]


@pytest.fixture(scope="module")
def program(seeded: Callable[..., Program]) -> Program:
    return seeded()


@pytest.fixture(scope="module")
def before(program: Program) -> Tree:
    return tree(program.home)


def records(program: Program) -> list[Line]:
    return json.loads(program.run("receipt", "--json").stdout)


def started(step: str) -> Callable[[Line], bool]:
    return lambda line: line["event"] == "started" and line["step"] == step


Send = Callable[[Program, subprocess.Popen[str], int], object]


def now(_program: Program, child: subprocess.Popen[str], number: int) -> None:
    child.send_signal(number)


def at_the_next_config(program: Program, child: subprocess.Popen[str], number: int) -> None:
    """Let the kernel send it when the next config is begun: who reads of one may be too late.

    The folder is watched (F_NOTIFY of fcntl(2)) as long as this process has it open.
    """
    folder = os.open(program.home / ".config/local-opus", os.O_RDONLY)
    fcntl.fcntl(folder, fcntl.F_SETSIG, number)
    fcntl.fcntl(folder, fcntl.F_SETOWN, child.pid)
    fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_CREATE)
    child.wait(60)
    os.close(folder)


CONVERTING = in_step(f"convert {MODEL}")
STAGES = [
    ("the download", signal.SIGTERM, in_step("download "), now, ("begin", "weights")),
    ("the conversion", signal.SIGHUP, CONVERTING, now, ("begin", "variant")),
    ("a file", signal.SIGTERM, CONVERTING, at_the_next_config, ("begin", "config:model")),
    ("the start of the server", signal.SIGHUP, in_step("load the model"), now, ("begin", "server")),
    ("the self-test", signal.SIGTERM, started("self-test"), now, ("done", "baseline")),
]


@pytest.mark.parametrize(
    ("number", "wanted", "send", "last"),
    [item[1:] for item in STAGES],
    ids=[item[0] for item in STAGES],
)
def test_a_signal_in(program, before, number, wanted, send: Send, last):
    ended = program.run_until(
        wanted, lambda child: send(program, child, number), *program.install_words()
    )
    # A server that was started is left to the next run, as a kill would leave it.
    assert_stopped(program, ended, running=2 if last[1] in {"server", "baseline"} else 0)
    written = records(program)
    assert "finished" not in [record["event"] for record in written]
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
    assert (child.returncode, without_progress(said)) == (0, "")
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
    assert (child.returncode, without_progress(said)) == (0, "")


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
