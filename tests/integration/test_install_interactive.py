"""The interactive way, on a real terminal: what is asked, what is not, and what a save holds."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_program import Program, tree

from local_opus import answers
from local_opus.answers import Answers

DOWN, ENTER, CLEAR, INTERRUPT = "\x1b[B", "\r", "\x15", "\x03"
SECONDS = 120


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, program: Program, *words: str) -> None:
        self._ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (50, 200))
        self._seen = ""
        #: PROMPT_TOOLKIT_NO_CPR: nobody here answers where the cursor is.
        environ = program.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.child = subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "local_opus.cli", *words],
            env=environ, cwd=program.home, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def _read(self) -> bool:
        """Take in what is shown; False at the end."""
        if not select.select([self._ours], [], [], 1)[0]:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: the program has left its terminal
            return False
        self._seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        return bool(data)

    def shows(self, text: str) -> str:
        """Wait until a text is shown; return what stood before it, and forget both."""
        deadline = time.monotonic() + SECONDS
        while text not in self._seen:
            assert self._read(), f"ended without {text!r}: {self._seen[-2000:]}"
            assert time.monotonic() < deadline, f"no {text!r}: {self._seen[-2000:]}"
        before, _, self._seen = self._seen.partition(text)
        return before

    def type(self, *keys: str) -> None:
        os.write(self._ours, "".join(keys).encode())

    def ends(self) -> tuple[int, str]:
        """Wait for the end; return exit code and what was shown since."""
        deadline = time.monotonic() + SECONDS
        while self._read():
            assert time.monotonic() < deadline, self._seen[-2000:]
        return self.child.wait(10), self._seen

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self._ours)


@pytest.fixture
def program(checkout_copy: Path, tmp_path: Path, _pip_cache: str) -> Program:
    return Program(checkout_copy, tmp_path / "person", _pip_cache)


@pytest.fixture
def terminal(program: Program, tmp_path: Path) -> Iterator[Terminal]:
    """What is answered: profile, scope, root. What is not: whether to go on."""
    (tmp_path / "image").mkdir()
    path = tmp_path / "part.toml"
    path.write_text('profile = "external-api"\nscope = "user"\nroot = "image"\n')
    terminal = Terminal(program, "install", "--answers", str(path))
    yield terminal
    terminal.close()


def test_a_save_at_the_last_question_answers_all_of_it(program, terminal, tmp_path):
    asked = terminal.shows("? Go on?")
    assert "Which profile?" not in asked
    assert "For whom?" not in asked
    terminal.shows("Stop")
    terminal.type(DOWN, ENTER)
    terminal.shows("Which file?")
    terminal.type(CLEAR, f"{tmp_path}/part.toml", ENTER)
    terminal.shows("is there already")
    terminal.type(CLEAR, "saved.toml", ENTER)
    code, shown = terminal.ends()
    assert code == 0, shown
    assert "Done. Profile external-api" in shown

    saved = program.home / "saved.toml"
    assert answers.parse(saved.read_bytes(), "saved.toml") == Answers(
        profile="external-api", scope="user", root=str(tmp_path / "image"), yes=True,
        tune=False,
    )  # fmt: skip
    again = program.run("install", "--answers", str(saved))
    assert again.stdout.splitlines()[-1] == "no changes"


@pytest.mark.parametrize("keys", [(DOWN, DOWN, ENTER), (INTERRUPT,)], ids=["stop", "Ctrl-C"])
def test_to_stop_changes_nothing(program, terminal, tmp_path, keys):
    terminal.shows("? Go on?")
    terminal.shows("Stop")
    terminal.type(*keys)
    code, shown = terminal.ends()
    assert code == 130, shown
    assert "nothing was changed" in shown
    assert tree(tmp_path / "image") == tree(program.home) == {}


def test_the_first_question_comes_where_no_profile_is_answered(program):
    terminal = Terminal(program, "install")
    try:
        terminal.shows("? Which profile?")
        terminal.shows("local-opus")
        terminal.type(INTERRUPT)
        assert terminal.ends()[0] == 130
        assert tree(program.home) == {}
    finally:
        terminal.close()
