"""What the monitor is told by whatever holds a port: real sockets, and what goes wrong on them."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from local_opus.host import http_probe
from local_opus.host.http_probe import ProbeError
from local_opus.monitor import asking

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ENGINE = {"state": "ready", "reason": "", "pid": 8, "restarts": 1, "requests_in_flight": 2,
          "turn_age": 0.5, "turn_limit": 60}  # fmt: skip
HEALTH = json.dumps({"status": "ok", "engine": ENGINE}).encode()
MODELS = json.dumps({"object": "list", "data": [{"id": "tiny"}]}).encode()
Act = Callable[[socket.socket, bytes], None]


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: "
    return head + str(len(body)).encode() + b"\r\n\r\n" + body


@contextmanager
def listening(act: Act) -> Iterator[int]:
    """A server on loopback that does ``act`` with each connection and the head of its request."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(5)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                # What was left unread would make of the close a reset.
                head, _, body = head.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                while len(body) < int(length[1] if length else 0):
                    body += connection.recv(65536)
                act(connection, head)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        ended.set()
        thread.join()


def says(*answers: bytes) -> Act:
    return lambda connection, _head: [connection.sendall(one) for one in answers] and None


def hangs(connection: socket.socket, _head: bytes) -> None:
    connection.settimeout(5)
    connection.recv(1)


def drips(connection: socket.socket, _head: bytes) -> None:
    for one in OK + b"X: " + b"a" * 1000:
        connection.sendall(bytes([one]))
        time.sleep(0.02)


def never_ends(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"x" * 65536)


HEALTHS = [
    ("hangs", hangs, "no answer within 0.4 s"),
    ("drips", drips, "no whole answer within 0.4 s"),
    ("never ends", never_ends, f"the answer is longer than {http_probe.LIMIT} bytes"),
    ("500", says(whole(b"oops", b"500 No")), "status 500"),
    ("404 of another program", says(whole(b"{}", b"404 No")), "status 404"),
    ("garbage", says(b"\x00\xff\x13garbage\r\n\r\n"), "what answers does not speak HTTP"),
    ("ssh", says(b"SSH-2.0-OpenSSH_9.2\r\n"), "what answers does not speak HTTP"),
    ("closes at once", says(), "remote end closed connection without response"),
    ("cut short", says(OK + b"Content-Length: 99\r\n\r\n{"), "the answer is not that of our server"),
    ("no JSON", says(whole(b"<html>")), "the answer is not that of our server"),
    ("other JSON", says(whole(b'{"status": "ok"}')), "the answer is not that of our server"),
    ("a list", says(whole(b"[]")), "the answer is not that of our server"),
    ("an engine of words", says(whole(b'{"engine": "fine"}')), "the answer is not that of our server"),
    ("deep", says(whole(b"[" * 100_000)), "the answer is not that of our server"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("act", "problem"), [case[1:] for case in HEALTHS], ids=[case[0] for case in HEALTHS]
)
def test_what_is_no_health_is_a_problem_within_the_time(act, problem, monkeypatch):
    monkeypatch.setattr(asking, "HEALTH_SECONDS", 0.4)
    with listening(act) as port:
        begin = time.monotonic()
        health, engine = asking.health("127.0.0.1", port, {})
        took = time.monotonic() - begin
    assert (health.problem, engine) == (problem, None)
    assert took < 3


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    health, engine = asking.health("127.0.0.1", port, {})
    assert (health.problem, health.seconds, engine) == ("connection refused", None, None)


def test_a_healthy_server_tells_of_its_engine():
    with listening(says(whole(HEALTH))) as port:
        health, engine = asking.health("127.0.0.1", port, {})
    assert health.problem is None
    assert engine is not None
    assert engine.model_dump() == ENGINE


def test_a_server_that_wants_a_key_is_told_apart_and_gets_it_when_there_is_one():
    def guarded(connection: socket.socket, head: bytes) -> None:
        known = b"authorization: bearer secret" in head.lower()
        connection.sendall(whole(HEALTH if known else b"{}", b"200 OK" if known else b"401 No"))

    with listening(guarded) as port:
        health, engine = asking.health("127.0.0.1", port, {})
        assert (health.problem, health.locked, engine) == (None, True, None)
        health, engine = asking.health("127.0.0.1", port, {"Authorization": "Bearer secret"})
    assert not health.locked
    assert engine is not None


def event(**data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def delta(text: str) -> bytes:
    return event(choices=[{"delta": {"content": text}}])


USAGE = event(choices=[], usage={"completion_tokens": 5})
ROLE = event(choices=[{"delta": {"role": "assistant"}}])
DONE = b"data: [DONE]\n\n"


def model(*answer: bytes, pause: float = 0.0) -> Act:
    def act(connection: socket.socket, head: bytes) -> None:
        if b"/v1/models" in head:
            connection.sendall(whole(MODELS))
            return
        connection.sendall(OK + b"Content-Type: text/event-stream\r\n\r\n")
        for one in answer:
            connection.sendall(one)
            time.sleep(pause)

    return act


def test_the_canary_is_timed():
    with listening(model(ROLE, delta("a"), delta("b"), USAGE, DONE, pause=0.1)) as port:
        found = asking.canary("127.0.0.1", port, 5, {})
    assert (found.problem, found.tokens) == (None, 5)
    assert 0.1 <= found.first_token_seconds < 0.3
    assert 0.3 <= found.total_seconds < 1.5
    assert found.tokens_per_second == pytest.approx(4 / 0.1, rel=0.4)


CANARIES = [
    ("hangs after the first token", model(ROLE, delta("a"), pause=9), "no whole answer within 1.5 s"),
    ("breaks off", model(ROLE, delta("a")), "the answer broke off"),
    ("empty", model(ROLE, DONE), "the answer was empty"),
    ("an error in the stream", model(event(error={"message": "The engine crashed."})),
     "The engine crashed."),
    ("garbage in the stream", model(b"data: {nonsense\n\n"), "the answer is not that of our server"),
    ("no events", model(b"hello\n"), "the answer broke off"),
    ("never ends", model(*[delta("x" * 4000)] * 100), "the answer is longer than 262144 bytes"),
    ("refused", says(whole(b'{"error": {"message": "busy"}}', b"503 No")), "/v1/models: status 503"),
    ("no models", says(whole(b'{"data": []}')), "the answer is not that of our server"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("act", "problem"), [case[1:] for case in CANARIES], ids=[case[0] for case in CANARIES]
)
def test_what_is_no_answer_to_the_canary_is_a_problem(act, problem):
    with listening(act) as port:
        found = asking.canary("127.0.0.1", port, 1.5, {})
    assert found.problem == problem


def test_a_refusal_is_told_in_the_servers_words():
    def refuses(connection: socket.socket, head: bytes) -> None:
        if b"/v1/models" in head:
            connection.sendall(whole(MODELS))
        else:
            connection.sendall(whole(b'{"error": {"message": "The queue\\n is full"}}', b"429 No"))

    with listening(refuses) as port:
        found = asking.canary("127.0.0.1", port, 5, {})
    assert found.problem == "status 429: The queue is full"


def test_a_key_that_is_missing_is_no_sickness():
    with listening(says(whole(b"{}", b"401 No"))) as port:
        found = asking.canary("127.0.0.1", port, 5, {})
    assert (found.problem, found.skipped) == (None, "the server wants a key")


def test_the_time_limit_holds_for_the_connection_too():
    with socket.socket() as full:  # a backlog that is full: connections wait
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(("127.0.0.1", port))
        begin = time.monotonic()
        with pytest.raises(ProbeError):
            http_probe.get("127.0.0.1", port, "/health", seconds=0.5)
        assert time.monotonic() - begin < 3
        for one in waiting:
            one.close()
