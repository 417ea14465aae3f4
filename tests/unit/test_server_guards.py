"""Which Host and Origin a request may carry, and systemd's messages."""

from __future__ import annotations

import asyncio
import socket

import pytest

from local_opus.server.guards import HostGuard
from local_opus.server.notify import notify, watchdog_seconds
from local_opus.server.settings import parse

SETTINGS = parse(
    '{"schema_version": 1, "model": "m", "model_folder": "/m", "context_length": 99,'
    '"host": "Node.example", "allowed_hosts": ["opus.lan"], "allowed_origins": ["https://ui.lan"]}',
    "x",
)


def status(headers):
    """The status that a request with these headers gets; 200 where the guard lets it pass."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": raw}
    asyncio.run(HostGuard(app, SETTINGS)(scope, None, send))
    return sent[0]["status"]


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:8000": 200,
    "localhost:8000": 200,
    "LOCALHOST.": 200,
    "[::1]:8000": 200,
    "127.9.9.9": 200,
    "node.example": 200,
    "opus.lan:80": 200,
    "evil.example": 403,
    "evil.example:8000": 403,
    "localhost.evil.example": 403,
    "127.0.0.1.evil.example": 403,
    "evil@localhost": 200,  # urlsplit's host is localhost, and a browser never sends this
    "10.0.0.1": 403,
    "0.0.0.0": 403,
    "": 403,
    "[": 403,
    "[::1": 403,
}


@pytest.mark.parametrize(("host", "expected"), HOSTS.items())
def test_host(host, expected):
    assert status([("host", host)]) == expected


def test_no_host_and_two_hosts_are_refused():
    assert status([]) == 403
    assert status([("host", "localhost"), ("host", "evil.example")]) == 403


ORIGINS = {
    "http://localhost:8000": 200,
    "https://localhost:8000": 200,
    "https://ui.lan": 200,
    "http://localhost:3000": 403,
    "http://localhost": 403,
    "https://evil.example": 403,
    "null": 403,
    "file://localhost:8000": 403,
    "": 403,
}


@pytest.mark.parametrize(("origin", "expected"), ORIGINS.items())
def test_origin(origin, expected):
    assert status([("host", "localhost:8000"), ("origin", origin)]) == expected


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path, monkeypatch, abstract):
    name = "local-opus-test" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name if abstract else name)
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notify("READY=1", "STATUS=x")
        assert listener.recv(100) == b"READY=1\nSTATUS=x"


def test_nobody_is_told_where_nobody_asked(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("micros", "pid", "seconds"),
    [
        ("10000000", None, 10.0),
        ("", None, None),
        ("0", None, None),
        ("x", None, None),
        ("10", "1", None),
    ],
)
def test_watchdog(monkeypatch, micros, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", micros)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_seconds() == seconds
