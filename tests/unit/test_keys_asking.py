"""A server that wants a key is asked again with it, and nobody else ever sees it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from local_opus import node
from local_opus.errors import BadInputError, KeyNeededError
from local_opus.host import Host
from local_opus.host.network import Network

KEY = "sk-lo-" + "k" * 40


class Asked(HTTPServer):
    """Answers who has the key; without ``key`` everybody. ``seen`` are the headers that came."""

    key: str | None = KEY
    seen: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: Asked

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
        given = self.headers.get("Authorization")
        self.server.seen.append(given)
        right = self.server.key is None or given == f"Bearer {self.server.key}"
        body = json.dumps({"model": "m"} if right else {"error": {"message": "no"}}).encode()
        if right and self.command == "POST":
            body = b'data: {"n": 1}\n\ndata: [DONE]\n\n'
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Asked]:
    with Asked(("127.0.0.1", 0), _Handler) as made:
        made.seen = []
        thread = threading.Thread(target=made.serve_forever, args=(0.02,))
        thread.start()
        yield made
        made.shutdown()
        thread.join(5)


def get(network: Network, server: Asked) -> int:
    return network.request_json("127.0.0.1", server.server_port, "/ready")[0]


def test_a_key_is_sent_once_it_is_wanted_and_from_then_on(server: Asked) -> None:
    network = Network(lambda _address, _port: KEY)
    assert get(network, server) == 200
    assert get(network, server) == 200
    assert server.seen == [None, f"Bearer {KEY}", f"Bearer {KEY}"]


def test_a_server_that_wants_none_gets_none(server: Asked) -> None:
    server.key = None
    assert get(Network(lambda _address, _port: KEY), server) == 200
    assert server.seen == [None]


def test_a_stream_is_asked_for_in_the_same_way(server: Asked) -> None:
    network = Network(lambda _address, _port: KEY)
    found = network.stream_events("127.0.0.1", server.server_port, "/v1/x", payload={})
    assert list(found) == [{"n": 1}]


def test_a_key_that_was_replaced_is_looked_for_again(server: Asked) -> None:
    network = Network(lambda _address, _port: server.key)
    get(network, server)
    server.key = KEY + "2"
    assert get(network, server) == 200


@pytest.mark.parametrize("known", [None, "wrong-" * 5])
def test_without_the_right_one_it_says_so_and_not_the_key(server: Asked, known: str | None) -> None:
    with pytest.raises(KeyNeededError) as caught:
        get(Network(lambda _address, _port: known), server)
    assert "LOCAL_OPUS_API_KEY" in caught.value.remedy
    assert "wrong" not in caught.value.message + caught.value.remedy


def test_whether_it_wants_one_is_asked_without(server: Asked) -> None:
    network = Network(lambda _address, _port: KEY)
    get(network, server)
    assert network.wants_key("127.0.0.1", server.server_port)
    assert server.seen[-1] is None
    server.key = None
    assert not network.wants_key("127.0.0.1", server.server_port)


def test_who_waits_for_a_server_is_told_at_once(server: Asked) -> None:
    with pytest.raises(KeyNeededError):
        node.ask_ready(Host("/"), "127.0.0.1", server.server_port)


def test_a_key_that_can_not_be_one_is_not_taken_for_a_server_that_is_not_there(
    server: Asked,
) -> None:
    host = Host("/")

    def wrong(*_: object) -> str:
        raise BadInputError("LOCAL_OPUS_API_KEY: holds a blank", "Correct it.")

    host.key_for = wrong
    with pytest.raises(BadInputError):
        node.ask_ready(host, "127.0.0.1", server.server_port)
