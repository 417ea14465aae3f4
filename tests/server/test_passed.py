"""A listening socket that systemd passes: the server takes it, and hands it to nobody."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from installs import COMMAND, LOAD
from servers import FAKE_ENGINE, FAST, ThreadServer, is_ready, settings, wait_for

from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError
from local_opus.server import listening
from local_opus.server.engine_client import EngineClient
from local_opus.server.listening import FIRST, bind, passed, shown
from models import CHECKOUT

#: pidfd_getfd(2) on x86-64.
PIDFD_GETFD = 438


@pytest.fixture
def three(monkeypatch):
    """What is passed as file 3 of this process: give it a socket."""
    kept = os.dup(FIRST)
    inheritable = os.get_inheritable(FIRST)

    def give(sock: socket.socket, count: int = 1, pid: int | None = None) -> None:
        os.dup2(sock.fileno(), FIRST)
        monkeypatch.setenv("LISTEN_FDS", str(count))
        monkeypatch.setenv("LISTEN_PID", str(os.getpid() if pid is None else pid))
        monkeypatch.setenv("LISTEN_FDNAMES", "local-opus.socket")

    yield give
    os.dup2(kept, FIRST, inheritable=inheritable)
    os.close(kept)


def test_a_passed_socket_is_taken_and_not_handed_on(three):
    with bind("127.0.0.1", 0) as listener:
        three(listener)
        found = passed()
        assert found.getsockname() == listener.getsockname()
        assert not os.get_inheritable(found.fileno())
        assert found.detach() == FIRST
    assert not [name for name in os.environ if name.startswith("LISTEN_")]


def test_what_is_meant_for_another_process_is_left_alone(three):
    with bind("127.0.0.1", 0) as listener:
        three(listener, pid=1)
        assert passed() is None
    assert "LISTEN_FDS" not in os.environ


def wrong(kind: str) -> socket.socket:
    if kind == "datagram":
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        return sock
    if kind == "connected":
        ours, other = socket.socketpair()
        other.close()
        return ours
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind("")
    sock.listen()
    return sock


@pytest.mark.parametrize("kind", ["datagram", "connected", "packets"])
def test_a_socket_of_the_wrong_kind_is_refused(three, kind):
    with wrong(kind) as sock:
        three(sock)
        with pytest.raises(
            BadInputError, match=r"local-opus\.socket: passes a socket of the wrong"
        ):
            passed()


@pytest.mark.parametrize("count", ["2", "0", "many"])
def test_another_number_of_sockets_is_refused(three, count, monkeypatch):
    with bind("127.0.0.1", 0) as listener:
        three(listener)
        monkeypatch.setenv("LISTEN_FDS", count)
        with pytest.raises(BadInputError, match=f"passes {count} sockets, and one is wanted"):
            passed()


def test_a_file_that_is_no_socket_is_refused(three):
    with bind("127.0.0.1", 0) as listener, open("/dev/null") as null:
        three(listener)
        os.dup2(null.fileno(), FIRST)
        with pytest.raises(BadInputError, match="is no socket"):
            passed()


def test_where_it_listens_is_shown():
    with bind("127.0.0.1", 0) as listener:
        assert shown(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    with bind("::1", 0) as listener:
        assert shown(listener) == f"http://[::1]:{listener.getsockname()[1]}"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("\0local-opus-test-of-listening")
        assert shown(sock) == "unix:@local-opus-test-of-listening"


# --- the program -------------------------------------------------------------------------------


class Activated:
    """The server as systemd starts it for a socket."""

    def __init__(self, listener: socket.socket, path: Path, log: Path, program: str) -> None:
        # LISTEN_PID is the PID of the shell, which becomes the server.
        script = f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=s; exec "$@" {FIRST}<&$0'
        command = [sys.executable, "-s", "-P", "-m", program, "--config", str(path)]
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", script, str(listener.fileno()), *command],
                env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
                pass_fds=[listener.fileno()],
                stderr=said,
            )


def config(folder: Path, model: Path) -> Path:
    path = folder / "server.json"
    path.write_text(
        '{"schema_version": 1, "host": "192.0.2.1", "port": 1, "model": "m", "context_length": 8192,'
        f' "model_folder": "{model}"}}'
    )
    return path


def accepted(pid: int, peer: int) -> socket.socket:
    """Return the server's own socket of the connection from the local port ``peer``."""
    libc = ctypes.CDLL(None, use_errno=True)
    with os.fdopen(os.pidfd_open(pid), closefd=True) as holder:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                continue
            number = libc.syscall(PIDFD_GETFD, holder.fileno(), int(name), 0)
            assert number >= 0, os.strerror(ctypes.get_errno())
            sock = socket.socket(fileno=number)
            try:
                if sock.getpeername()[1] == peer:
                    return sock
            except (OSError, IndexError):
                pass
            sock.close()
    raise AssertionError("the connection is not there")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with bind("127.0.0.1", 0) as made:
        yield made


@pytest.fixture
def activated(listener, tmp_path, model_folder) -> Iterator[Callable[[], Activated]]:
    """Starts servers for the socket; ends what a test leaves."""
    started: list[Activated] = []

    def start() -> Activated:
        path = config(tmp_path, model_folder)
        started.append(Activated(listener, path, tmp_path / "log", "local_opus.server"))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_it_serves_on_the_passed_socket_and_later_clients_wait_in_its_queue(
    listener, activated, tmp_path
):
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    first = activated().process
    wait_for(lambda: is_ready(url) or first.poll() is not None, LOAD)
    assert f"serving m on {url}" in (tmp_path / "log").read_text()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(99).startswith(b"HTTP/1.1 200")
        with accepted(first.pid, client.getsockname()[1]) as ours:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    engine = httpx.get(f"{url}/health").json()["engine"]["pid"]
    held = [os.readlink(f"/proc/{engine}/fd/{name}") for name in os.listdir(f"/proc/{engine}/fd")]
    assert f"socket:[{os.stat(listener.fileno()).st_ino}]" not in held
    assert b"LISTEN_" not in Path(f"/proc/{engine}/environ").read_bytes()

    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    answers: list[int] = []
    waiting = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{url}/health", timeout=LOAD).status_code)
    )
    waiting.start()
    activated()
    waiting.join(LOAD)
    assert answers == [200]


def test_a_datagram_socket_ends_it_with_one_line(tmp_path, model_folder):
    log = tmp_path / "log"
    with wrong("datagram") as sock:
        ended = Activated(sock, config(tmp_path, model_folder), log, "local_opus.serve")
        assert ended.process.wait(LOAD) == 2
    assert "error: s: passes a socket of the wrong kind: AF_INET SOCK_DGRAM" in log.read_text()
    assert "fix: Have the socket unit listen at one place" in log.read_text()


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="no systemd here")
def test_what_systemd_itself_passes_is_taken(tmp_path, model_folder):
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    path = config(tmp_path, model_folder)
    environ = {"PYTHONPATH": str(CHECKOUT / "src"), "PATH": os.environ["PATH"]}
    given = [word for name, value in environ.items() for word in ("-E", f"{name}={value}")]
    command = [*COMMAND[:4], "local_opus.server", "--config", str(path)]
    with subprocess.Popen(
        ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *given, *command],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(lambda: is_ready(f"http://127.0.0.1:{port}"), LOAD)
        finally:
            process.kill()


def test_a_unix_socket_serves_too(tmp_path):
    engine = EngineClient(
        {"op": "load", "model": "fake"},  # type: ignore[typeddict-item]
        max_in_flight=9,
        command=FAKE_ENGINE,
        timing=FAST,
    )
    place = str(tmp_path / "sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    with (
        ThreadServer(settings(), engine, listener),
        httpx.Client(transport=httpx.HTTPTransport(uds=place)) as client,
    ):
        assert client.get("http://localhost/health").status_code == 200


@pytest.mark.parametrize(
    ("error", "left"),
    [(ProblemFoundError("x", "y"), 0), (PermissionError(), 0), (LocalOpusError("x", "y"), 1)],
    ids=("for good", "closed to it", "tried again"),
)
def test_clients_that_wait_are_turned_away_where_no_start_would_serve_them(
    monkeypatch: pytest.MonkeyPatch, error: Exception, left: int
) -> None:
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        kept = listener.dup()
        monkeypatch.setattr(listening, "passed", lambda: listener)
        with pytest.raises(type(error)), listening.Door():
            raise error
        kept.settimeout(0.2)
        waiting = 0
        with contextlib.suppress(TimeoutError):
            kept.accept()[0].close()
            waiting = 1
        kept.close()
        assert waiting == left
