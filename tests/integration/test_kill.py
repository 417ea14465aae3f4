"""Interrupted, killed, out of space, twice at once: the same command again goes on to the end.

One home goes through it all, in the order of the tests below, as an unlucky user would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from node_program import MODEL, Program, Tree, error_lines, in_step, tree

SPACE = 700 * 1024 * 1024


@pytest.fixture(scope="module")
def program(seeded: Callable[..., Program]) -> Iterator[Program]:
    """A home whose store, where root runs the tests, lies on a small disk of its own."""
    program = seeded()
    models = program.prefix / "models"
    models.mkdir()
    mount = f"mount -t tmpfs -o size={SPACE},mode=755 none '{models}' && echo mounted && sleep 900"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as keeper:  # fmt: skip
        assert keeper.stdout is not None
        if keeper.stdout.readline() == "mounted\n":
            program.enter = ("nsenter", "--target", str(keeper.pid), "--mount")
        try:
            yield program
        finally:
            program.end_all()
            os.kill(keeper.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def before(program: Program) -> Tree:
    return tree(program.home)


def store(program: Program) -> Path:
    """The store, as it can be seen from here."""
    folder = program.prefix / "models"
    return Path(f"/proc/{program.enter[2]}/root{folder}") if program.enter else folder


def but_for_the_receipt(found: Tree) -> Tree:
    """Leave out where the receipt lies; it stays while weights do."""
    return {
        name: item for name, item in found.items() if not f"{name}/".startswith(".local/state/")
    }


def records(program: Program) -> list[Mapping[str, Any]]:
    return json.loads(program.run("receipt", "--json").stdout)


def converting(line: Mapping[str, Any]) -> bool:
    return in_step(f"convert {MODEL}")(line)


def test_killed_in_the_middle_of_the_download(program, before):
    program.kill_at(in_step("download "), *program.install_words())
    assert program.wait_for_processes(lambda found: not found) == {}  # pip ended with it
    last = records(program)[-1]
    assert (last["event"], last["id"]) == ("begin", "weights")


def test_interrupted_in_the_middle_of_the_conversion(program, before):
    others: list[subprocess.CompletedProcess[str]] = []

    def meddle(child: subprocess.Popen[str]) -> None:
        others.append(program.install(code=1))
        assert f"(PID {child.pid})" in error_lines(others[0])[0]
        child.send_signal(signal.SIGINT)

    ended = program.run_until(converting, meddle, *program.install_words())
    assert ended.code == 130
    assert len(others) == 1  # a second one at the same time, which changed nothing
    assert [line[:8] for line in ended.err.splitlines()] == ["stopped:", "   next:"]
    assert program.wait_for_processes(lambda found: not found) == {}
    assert [item["id"] for item in records(program)][-1] == "variant"


def test_no_space_in_the_middle_of_the_conversion(program, before):
    if not program.enter:
        pytest.skip("only root can mount a small disk")
    filler = store(program) / "filler"

    def leave(free: int) -> None:
        """Fill the disk but for so many bytes."""
        with filler.open("ab") as stream:
            for _ in range(100):  # the conversion writes meanwhile, and may have taken some
                more = shutil.disk_usage(filler.parent).free - free
                try:
                    os.posix_fallocate(stream.fileno(), stream.tell(), more)
                except OSError:
                    continue
                return
            pytest.fail("the disk could not be filled")

    def fill(_child: subprocess.Popen[str]) -> None:
        leave(20_000_000)

    # Most of it before: filling all of it would take longer than the conversion.
    leave(250_000_000)
    ended = program.run_until(converting, fill, *program.install_words())
    filler.unlink()
    assert ended.code == 4
    what, remedy = ended.err.splitlines()
    assert "no space for the converted model" in what
    assert "Free 0.1 GB and run this again." in remedy
    assert "download" not in {line.get("step", "")[:8] for line in ended.lines}
    # Taken back is also what the interrupted runs had done; the GGUF stays.
    assert sorted(path.name for path in (store(program) / MODEL).iterdir()) == ["gguf-q4_1"]
    assert but_for_the_receipt(tree(program.home)) == before
    assert program.processes() == {}


def test_killed_in_the_middle_of_the_conversion(program, before):
    ended = program.kill_at(converting, *program.install_words())
    assert "unpack" not in {line.get("step", "")[:6] for line in ended.lines}
    assert program.wait_for_processes(lambda found: not found) == {}


def test_killed_between_two_files(program, before):
    ended = program.kill_at(
        lambda line: line["event"] == "finished" and line["step"] == "config:model",
        *program.install_words(),
    )
    assert "variant" in ended.steps("finished")
    assert "finished" not in [item["event"] for item in records(program)]
    folder = store(program) / MODEL
    assert sorted(path.name for path in folder.iterdir()) == ["cpu-q4_1", "gguf-q4_1"]


def test_uninstall_takes_half_an_install_back_and_keeps_the_weights(program, before):
    said = program.run("uninstall", "--yes").stdout
    assert "0.18 GiB of weights stay in ~/.local/share/local-opus/models; --purge removes" in said
    assert but_for_the_receipt(tree(program.home)) == before
    assert program.processes() == {}
    program.run("verify", MODEL)


def test_killed_while_the_server_starts(program, before):
    ended = program.kill_at(in_step("load the model"), *program.install_words())
    assert not {"weights", "variant"} & set(ended.steps("started"))  # they were kept
    assert len(program.wait_for_processes(lambda found: len(found) == 2)) == 2
    assert (program.state / "run/server.pid").exists()


def test_the_same_command_again_comes_to_its_end(program, before):
    servers = program.processes()
    said = program.install().stdout
    assert "It works." in said
    assert json.loads(program.run("status", "--json").stdout)["ready"] is True
    assert len(program.processes()) == 2
    assert not servers.keys() & program.processes().keys()  # the half-started one was replaced
    assert program.install().stdout.splitlines()[-1] == "no changes"


def test_uninstall_and_purge_leave_what_was_there(program, before):
    program.run("uninstall", "--purge", "--yes")
    assert program.processes() == {}
    assert tree(program.home) == before
    assert list(store(program).iterdir()) == []
