"""Signals and closed terminals while ./installer makes its environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence

import pytest
from checkout_tree import Tree, start_and_reach, two_lines, waiting_for
from terminal import Terminal

SIGNALS = {
    "SIGINT": [signal.SIGINT],
    "SIGTERM": [signal.SIGTERM],
    "SIGHUP": [signal.SIGHUP],
    "impatient": [signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT],
}


def pips(tree: Tree) -> list[str]:
    """The processes that still build this checkout's environment."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if str(tree.base) in line]


@pytest.mark.parametrize("numbers", SIGNALS.values(), ids=SIGNALS)
def test_a_signal_is_130_and_leaves_no_half(tree, silent, numbers):
    with start_and_reach(tree, silent) as child:
        for number in numbers:
            child.send_signal(number)
            time.sleep(0.002)  # apart, so that the kernel does not make them one
        out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert two_lines(subprocess.CompletedProcess([], 130, out, err)) == (
        "stopped: interrupted while the environment was set up; no other change",
        "   next: Run the same command again",
    )
    assert tree.environments() == []
    assert pips(tree) == []
    if len(numbers) > 1:  # which signal it was makes no difference to the next start
        assert tree.answer()["version"] == "1.0"


def test_signals_that_come_while_it_ends_do_not_kill_it(tree, silent):
    with start_and_reach(tree, silent) as child:
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        said = [child.stderr.readline(), child.stderr.readline()]
        while child.poll() is None:
            child.send_signal(signal.SIGINT)
    assert (child.returncode, said[1]) == (130, "   next: Run the same command again\n")


def on_terminal(tree: Tree, silent: socket.socket, ignoring: Sequence[int] = ()) -> Terminal:
    """Start the installer there, and wait until it asks the index."""
    command = [tree.python, str(tree.checkout / "installer")]
    terminal = Terminal(command, {**tree.environ, **waiting_for(silent)}, "/", ignoring)
    silent.accept()[0].close()
    return terminal


def test_the_terminal_closes(tree, silent):
    terminal = on_terminal(tree, silent)
    assert terminal.close() == 130
    assert tree.environments() == []
    assert pips(tree) == []


def test_the_terminal_closes_and_the_caller_wants_it_to_go_on(tree, silent):
    """As under nohup: there is nothing to be told any more, and still something to be done."""
    terminal = on_terminal(tree, silent, ignoring=[signal.SIGHUP])
    os.close(terminal.master)
    with pytest.raises(subprocess.TimeoutExpired):
        terminal.child.wait(1.5)  # it shows its progress every half second
    silent.close()
    assert terminal.child.wait(60) == 4  # the index can't be reached
    assert tree.environments() == []


def test_nobody_reads_and_nothing_is_open(tree):
    """What an interpreter opens first must not be taken for its output, nor be written into."""
    shell = ["/bin/sh", "-c", '"$@" <&- >&- 2>&-', "sh"]
    command = [tree.python, str(tree.checkout / "installer"), "detect"]
    for _ in range(2):
        done = subprocess.run([*shell, *command], env=tree.environ, cwd="/", check=False)
        assert done.returncode == 0
    [folder] = tree.environments()
    assert (folder.parent / f"{folder.name}.lock").read_bytes() == b""
    assert tree.answer()["held"] == [f"{folder}.lock"]
