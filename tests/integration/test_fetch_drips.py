"""Servers that send a byte now and then where it is not a file's: before it, and on the way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fetching import host_for, hub_model

from builders import gguf_bytes
from hub import Hub
from local_opus.errors import LocalOpusError
from local_opus.host import connections, downloads
from local_opus.weights.fetch import fetch_model

pytestmark = pytest.mark.usefixtures("hasty")

Serve = Callable[[Callable[[str], bytes]], str]


@pytest.fixture
def drip() -> Iterator[Serve]:
    """Start a server that sends what it makes of a path: the last 300 bytes of it one by one."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket, make: Callable[[str], bytes]) -> None:
        with connection, suppress(OSError):
            path = connection.recv(65536).split(b" ")[1].decode()
            data = make(path)
            connection.sendall(data[:-300])
            for byte in data[-300:]:
                if over.wait(0.05):
                    return
                connection.sendall(bytes([byte]))

    def accept(make: Callable[[str], bytes]) -> None:
        with suppress(OSError):
            while True:
                one = threading.Thread(target=answer, args=(listener.accept()[0], make))
                threads.append(one)
                one.start()

    def serve(make: Callable[[str], bytes]) -> str:
        thread = threading.Thread(target=accept, args=(make,))
        threads.append(thread)
        thread.start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(5)


def test_the_head_of_an_answer(tmp_path: Path, hub: Hub, drip: Serve, monkeypatch) -> None:
    """No byte is late, and the head would take 15 seconds: four times."""
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.3)
    head = f"HTTP/1.1 200 OK\r\nX-Long: {'x' * 400}\r\nContent-Length: 5\r\n\r\nhello".encode()
    url = drip(lambda _: head)
    host = host_for(hub, tmp_path / "root", HF_ENDPOINT=url)
    begin = time.monotonic()
    with pytest.raises(LocalOpusError, match="no answer came within") as caught:
        fetch_model(host, "/models", hub_model(hub, {"tiny.gguf": gguf_bytes()}))
    assert time.monotonic() - begin < 5
    assert url.removeprefix("http://") in caught.value.message
    assert host.files.stat("/models/tiny") is None


def test_the_body_of_a_redirect(tmp_path: Path, hub: Hub, drip: Serve, monkeypatch) -> None:
    """Nobody needs it: it is not read to its end."""
    monkeypatch.setattr(downloads, "_DRAIN", 0.2)

    def redirect(path: str) -> bytes:
        head = f"HTTP/1.1 302 Found\r\nLocation: {hub.url}{path}\r\nContent-Length: 400\r\n\r\n"
        return head.encode() + b"x" * 400

    host = host_for(hub, tmp_path / "root", HF_ENDPOINT=drip(redirect))
    begin = time.monotonic()
    assert fetch_model(host, "/models", hub_model(hub, {"tiny.gguf": gguf_bytes()})).changed
    assert time.monotonic() - begin < 3
