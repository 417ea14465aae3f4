"""Keys over HTTP: who is let in, who is not, and that those who are not harm nobody."""

from __future__ import annotations

import hashlib
import json
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from servers import ThreadServer, fake_server, settings, wait_for

from local_opus.errors import ProblemFoundError
from local_opus.server.app import create_app
from local_opus.server.engine_client import EngineClient
from local_opus.server.keys import VARIABLE, load

KEY, OTHER = "sk-lo-" + "a" * 43, "sk-lo-" + "b" * 43
BEARER = {"Authorization": f"Bearer {KEY}"}
#: None is started where there is no app.
NO_ENGINE = EngineClient({"op": "load", "model": "fake"}, max_in_flight=1)  # type: ignore[typeddict-item]
HELLO = {"model": "fake", "messages": [{"role": "user", "content": "say Hello"}]}


def credential(folder: Path, keys: dict[str, str]) -> None:
    entries = [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "added": "now"}
        for name, key in keys.items()
    ]
    (folder / "api-keys").write_text(json.dumps({"schema_version": 1, "keys": entries}))


@contextmanager
def keyed(folder: Path, keys: dict[str, str], **fields: object) -> Iterator[ThreadServer]:
    credential(folder, keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder))
        with fake_server(ready=False, **fields) as running:
            wait_for(lambda: httpx.get(f"{running.url}/ready", headers=BEARER).status_code == 200)
            yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadServer]:
    keys = {"node": OTHER, "agent-1": KEY}
    with keyed(tmp_path_factory.mktemp("credentials"), keys) as running:
        yield running


ROUTES = [
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/sandbox"),
    ("GET", "/metrics"),
    ("GET", "/"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/fake"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("OPTIONS", "/v1/chat/completions"),
    ("HEAD", "/health"),
    ("GET", "/no/such/page"),
    ("DELETE", "/v1/models/fake"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_key_no_route_answers(server: ThreadServer, method: str, path: str) -> None:
    answer = httpx.request(method, server.url + path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="local-opus"'
    if method != "HEAD":
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        assert "x-api-key" in error["message"]


RIGHT = {
    "as OpenAI's clients": [("Authorization", f"Bearer {KEY}")],
    "as Anthropic's clients": [("X-Api-Key", KEY), ("anthropic-version", "2023-06-01")],
    "another case of the scheme": [("authorization", f"bearer {KEY}")],
    "more than a blank": [("authorization", f"Bearer   {KEY}")],
    "the node's own": [("x-api-key", OTHER)],
    "both, and one is right": [("x-api-key", KEY), ("authorization", "Bearer wrong")],
    "a proxy's own word besides": [("x-api-key", KEY), ("authorization", "Basic eDp5")],
}


@pytest.mark.parametrize("headers", RIGHT.values(), ids=RIGHT.keys())
def test_who_has_a_key_is_let_in(server: ThreadServer, headers: list[tuple[str, str]]) -> None:
    assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200


WRONG = {
    "a wrong one": [("authorization", f"Bearer {KEY}x")],
    "its beginning": [("authorization", f"Bearer {KEY[:-1]}")],
    "its digest": [("authorization", f"Bearer {hashlib.sha256(KEY.encode()).hexdigest()}")],
    "another case": [("x-api-key", KEY.upper())],
    "an empty one": [("authorization", "Bearer")],
    "no scheme": [("authorization", KEY)],
    "Basic": [("authorization", f"Basic {KEY}")],
    "an empty header": [("x-api-key", "")],
    "the header twice": [("x-api-key", KEY), ("x-api-key", KEY)],
    "Bearer twice": [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")],
    "two in one header": [("authorization", f"Bearer {KEY} {KEY}")],
    "no ASCII": [("x-api-key", "schlüssel" * 5)],
    "8 KiB": [("x-api-key", "k" * 8192)],
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_key_is_refused(server: ThreadServer, headers: list[tuple[str, str]]) -> None:
    raw = [(name.encode(), value.encode("utf-8")) for name, value in headers]
    answer = httpx.get(f"{server.url}/health", headers=raw)
    assert answer.status_code == 401
    assert KEY not in answer.text


def test_a_wrong_key_is_told_from_none(server: ThreadServer) -> None:
    answer = httpx.get(f"{server.url}/health", headers={"x-api-key": "wrong"})
    assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')


def test_the_official_client(server: ThreadServer) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        assert client.models.list().data[0].id == "fake"
        assert client.chat.completions.create(**HELLO).choices[0].message.content
    wrong = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with wrong as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"


def test_a_long_body_is_not_waited_for(server: ThreadServer) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 401")


def test_a_connection_that_was_refused_may_ask_again(server: ThreadServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/v1/chat/completions", json=HELLO).status_code == 401
        assert client.post("/v1/chat/completions", json=HELLO, headers=BEARER).status_code == 200


def test_another_host_is_refused_before_a_key_is_looked_at(server: ThreadServer) -> None:
    answer = httpx.get(f"{server.url}/health", headers={**BEARER, "Host": "evil.example"})
    assert answer.status_code == 403


def test_a_page_that_may_call_asks_first_without_a_key_and_reads_the_refusal(
    tmp_path: Path,
) -> None:
    page = {"Origin": "https://ui.lan"}
    with keyed(tmp_path, {"a": KEY}, allowed_origins=["https://ui.lan"]) as running:
        url = f"{running.url}/v1/chat/completions"
        first = httpx.options(url, headers={**page, "Access-Control-Request-Method": "POST"})
        assert first.status_code == 200
        refused = httpx.post(url, headers=page, json=HELLO)
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == "https://ui.lan"


def test_ten_thousand_wrong_keys_slow_nobody(server: ThreadServer) -> None:
    """A client with a key asks before, while and after another tries wrong ones."""

    def asked(client: httpx.Client) -> float:
        begin = time.perf_counter()
        assert client.get("/health", headers=BEARER).status_code == 200
        return time.perf_counter() - begin

    def one(number: int) -> bytes:
        return b"GET /health HTTP/1.1\r\nHost: localhost\r\nx-api-key: wrong-%06d\r\n\r\n" % number

    with (
        httpx.Client(base_url=server.url) as client,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as tries,
    ):
        before = statistics.median(asked(client) for _ in range(50))
        during = []
        for batch in range(100):
            tries.sendall(b"".join(one(batch * 100 + number) for number in range(100)))
            answers = b""
            during.append(asked(client))
            while answers.count(b"HTTP/1.1 401") < 100:
                answers += tries.recv(1 << 16)
        after = statistics.median(asked(client) for _ in range(50))
    assert max(during) < 1.0  # a batch of a hundred is in front of it
    assert after < before + 0.05


def test_the_log_counts_wrong_keys_and_repeats_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with keyed(tmp_path, {"a": KEY}) as running:
        for number in range(20):
            httpx.get(f"{running.url}/health", headers={"x-api-key": f"wrong-{number}-{KEY}"})
    said = [one.getMessage() for one in caplog.records if one.name == "local_opus.server.keys"]
    assert said == ["1 requests without a right key were refused"]
    assert KEY not in caplog.text


# -- what the server is given ---------------------------------------------------------------------

DAMAGED = {
    "empty": b"",
    "no JSON": b"{",
    "binary": bytes(range(256)),
    "a list": b"[]",
    "another schema": b'{"schema_version": 2, "keys": []}',
    "an unknown field": b'{"schema_version": 1, "keys": [], "open": true}',
    "a digest that is none": b'{"schema_version":1,"keys":[{"name":"a","sha256":"x","added":""}]}',
    "600 KB": b" " * 600_000,
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_credential_serves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    (tmp_path / "api-keys").write_bytes(data)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ProblemFoundError) as caught:
        create_app(settings(), NO_ENGINE)
    assert caught.value.message.startswith(f"{tmp_path}/api-keys: ")


def test_keys_that_are_wanted_and_not_given_serve_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ProblemFoundError, match="api-keys"):
        load(settings(keys="required"))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ProblemFoundError, match="api-keys"):
        load(settings(keys="required"))


def test_a_credential_alone_closes_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential(tmp_path, {})
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    keys = load(settings())
    assert keys is not None
    assert keys.owner(KEY) is None


def test_without_either_nothing_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert load(settings()) is None


def test_a_folder_in_its_place_serves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "api-keys").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ProblemFoundError, match="is a directory"):
        load(settings())


def test_how_many_keys_there_are_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key costs as much beside two thousand keys as beside one."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    def cost(count: int) -> float:
        credential(tmp_path, {f"agent-{number}": f"{number:050}" for number in range(count)})
        keys = load(settings())
        assert keys is not None
        times = []
        for number in range(2000):
            begin = time.perf_counter()
            keys.owner(f"sk-lo-wrong-{number:040}")
            times.append(time.perf_counter() - begin)
        return statistics.median(times)

    one, many = cost(1), cost(2000)
    assert many < 2 * one + 5e-6


def test_the_engine_is_told_nothing_of_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    from local_opus.server.engine_process import environment

    monkeypatch.setenv(VARIABLE, "/run/credentials/local-opus.service")
    monkeypatch.setenv("LOCAL_OPUS_API_KEY", KEY)
    found = environment()
    assert VARIABLE not in found
    assert KEY not in found.values()
