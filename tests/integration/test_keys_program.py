"""``keys`` as a child process: prompts on a terminal, standard input, and nobody to ask."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminal import Terminal

KEY = "sk-lo-" + "k" * 40
COMMAND = [sys.executable, "-s", "-P", "-m", "local_opus.cli", "keys"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LOCAL_OPUS_SCOPE": "user", "TERM": "dumb",
            "PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # fmt: skip


def kept(home: Path) -> dict[str, bytes]:
    folder = home / ".local/state/local-opus/credentials"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def typed(terminal: Terminal, text: str) -> tuple[int, str]:
    """Type a text at the prompt; return the exit code and all that the terminal showed."""
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([terminal.master], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal.master, 4096)
            except OSError:  # the program has ended
                break
        if text and b"key of" in shown:
            time.sleep(0.1)  # till the echo is off
            os.write(terminal.master, text.encode())
            text = ""
    return terminal.child.wait(10), shown.decode()


@pytest.mark.parametrize(
    ("words", "name"),
    [(("set-cloud", "openai"), "cloud-openai"), (("add", "a", "--own"), "api-keys")],
)
def test_a_terminal_shows_no_key(
    tmp_path: Path, environ: dict[str, str], words: tuple[str, ...], name: str
) -> None:
    terminal = Terminal([*COMMAND, *words], environ, tmp_path)
    code, shown = typed(terminal, f"{KEY}\n")
    os.close(terminal.master)
    assert code == 0, shown
    assert KEY not in shown
    assert name in kept(tmp_path)


def test_ctrl_c_at_the_prompt_keeps_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    terminal = Terminal([*COMMAND, "set-cloud", "openai"], environ, tmp_path)
    code, shown = typed(terminal, "\x03")
    os.close(terminal.master)
    assert code == 130, shown
    assert kept(tmp_path) == {}


GIVEN = {"nothing": b"", "a blank line": b"\n", "1 MB": b"k" * 1_000_000, "binary": bytes(range(256)),
         "two keys": f"{KEY}\n{KEY}\n".encode()}  # fmt: skip


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN.keys())
def test_standard_input_that_is_no_key(
    tmp_path: Path, environ: dict[str, str], given: bytes
) -> None:
    begin = time.monotonic()
    done = subprocess.run(
        [*COMMAND, "set-cloud", "openai", "--debug"], env=environ, input=given, cwd=tmp_path,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert time.monotonic() - begin < 30  # it waits for nobody; a busy machine starts Python slowly
    assert KEY.encode() not in done.stdout + done.stderr
    assert b"kkkkk" not in done.stdout + done.stderr
    assert kept(tmp_path) == {}


def test_nobody_to_ask(tmp_path: Path, environ: dict[str, str]) -> None:
    command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "add", "a", "--own"]
    done = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2, done
    assert b"standard input" in done.stderr


def test_a_key_from_standard_input_is_kept(tmp_path: Path, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "set-cloud", "anthropic"], env=environ, input=f"{KEY}\n".encode(), cwd=tmp_path,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert kept(tmp_path) == {"cloud-anthropic": KEY.encode()}
    assert KEY.encode() not in done.stdout + done.stderr
