"""Clients that connect and say little, or nothing."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest
from servers import fake_server, wait_for

from local_opus.server import connection
from local_opus.server.connection import Connection

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)
SLOW = {
    "nothing": b"",
    "half a head": b"GET /health HTTP/1.1\r\nHost: local",
    "half a body": HEAD + b"Content-Length: 100\r\n\r\n{",
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "nothing after an answer": b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("said", SLOW.values(), ids=SLOW.keys())
def test_a_request_that_does_not_arrive_ends_its_connection(monkeypatch, said):
    monkeypatch.setattr(connection, "ARRIVAL", 0.3)
    with fake_server() as running:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", running.port), timeout=4) as client:
            client.sendall(said)
            try:
                while client.recv(1 << 16):
                    pass
            except ConnectionResetError:
                pass
        assert time.monotonic() - began < 3  # uvicorn's own limit, for the last case only, is 5


def test_a_client_that_waits_for_its_answer_is_not_ended(monkeypatch):
    monkeypatch.setattr(connection, "ARRIVAL", 0.1)
    with fake_server() as running, httpx.Client() as client:
        body = {"model": "fake", "messages": [{"role": "user", "content": "count"}], "stream": True}
        with client.stream("POST", f"{running.url}/v1/chat/completions", json=body) as response:
            chunks = response.iter_lines()
            began = time.monotonic()
            while time.monotonic() - began < 0.4:
                line = next(chunks)
                assert not line or json.loads(line.removeprefix("data: "))["choices"]


def test_idle_connections_make_room(monkeypatch):
    monkeypatch.setattr(Connection, "most", staticmethod(lambda: 4))
    with fake_server() as running:
        idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(20)]
        try:
            # Each newcomer sends another one away: also many that come in one round of the loop.
            wait_for(lambda: len(running.connections) <= 4)
            assert running.chat("say Hello").status_code == 200
            idle[0].settimeout(4)
            assert idle[0].recv(1) == b""  # the oldest went first
        finally:
            for client in idle:
                client.close()
