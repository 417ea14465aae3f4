"""The socket that systemd passes: the server takes it, and nothing else in its place."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from models import CHECKOUT

CODE = """
import os, socket, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from local_opus.errors import LocalOpusError
from local_opus.server.passed import passed_socket
try:
    found = passed_socket()
except LocalOpusError as error:
    print("refused:", error.message)
else:
    print(found and (found.getsockname(), os.get_inheritable(found.fileno()), os.fstat(3) is not None))
"""


def take(passed: socket.socket | None, count: str | None = "1") -> str:
    """Start a process as systemd does, with the socket as its descriptor 3; return what it found."""
    code = CODE
    if count is None:
        code = code.replace('os.environ["LISTEN_PID"]', 'os.environ["OTHER"]')

    def pass_on() -> None:
        if passed is not None:
            os.dup2(passed.fileno(), 3)

    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), "LISTEN_FDS": count or "1"},
        preexec_fn=pass_on,
        close_fds=False,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0))],
)
def test_a_socket_that_listens_is_taken_and_is_not_the_engines(family, address):
    with socket.create_server(address, family=family) as one:
        assert take(one) == f"({one.getsockname()}, False, True)"


def test_without_one_the_server_opens_its_own():
    with socket.create_server(("127.0.0.1", 0)) as one:
        assert take(one, None) == "None"


@pytest.mark.parametrize("count", ["0", "2", "x"])
def test_more_or_fewer_than_one_are_refused(count):
    with socket.create_server(("127.0.0.1", 0)) as one:
        assert take(one, count) == f"refused: LISTEN_FDS='{count}': systemd passes one socket"


def test_a_socket_that_does_not_listen_is_refused():
    with socket.socket() as one:
        assert "not a TCP socket that listens" in take(one)


def test_a_socket_of_another_kind_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        one.listen()
        assert "not a TCP socket that listens" in take(one)


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path):
    with open(tmp_path / "f", "wb") as one:
        assert "where systemd passes a socket" in take(one)  # type: ignore[arg-type]
