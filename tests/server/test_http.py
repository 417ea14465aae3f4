"""The HTTP side, with an engine that has no model."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from servers import ThreadServer, fake_server, wait_for

JSON = {"Content-Type": "application/json"}
HELLO = {"model": "fake", "messages": [{"role": "user", "content": "say Hello"}]}


def post(fake: ThreadServer, **request: object) -> httpx.Response:
    return httpx.post(f"{fake.url}/v1/chat/completions", **request)


def error(response: httpx.Response) -> dict[str, object]:
    found = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert found["message"]
    return found


MESSAGE = {"role": "user", "content": "x"}
#: What is wrong: the fields that replace those of a good body, and the field that the error names.
BAD_FIELDS = {
    "no model": ({"model": None}, "model"),
    "empty model": ({"model": ""}, "model"),
    "model a number": ({"model": 1}, "model"),
    "no messages": ({"messages": None}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "too many messages": ({"messages": [MESSAGE] * 5}, "messages"),
    "messages a string": ({"messages": "x"}, "messages"),
    "unknown role": ({"messages": [{**MESSAGE, "role": "root"}]}, "messages[0].role"),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role"),
    "no content": ({"messages": [MESSAGE, {"role": "user"}]}, "messages[1].content"),
    "content null": ({"messages": [{**MESSAGE, "content": None}]}, "messages[0].content"),
    "no parts": ({"messages": [{**MESSAGE, "content": []}]}, "messages[0].content"),
    "an image": (
        {
            "messages": [
                {**MESSAGE, "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
            ]
        },
        "messages[0].content",
    ),
    "a part without text": (
        {"messages": [{**MESSAGE, "content": [{"type": "text"}]}]},
        "messages[0].content",
    ),
    "half a character": ({"messages": [{**MESSAGE, "content": "\ud800"}]}, "messages[0].content"),
    "tool calls": ({"messages": [{**MESSAGE, "tool_calls": [{}]}]}, "messages[0].tool_calls"),
    "temperature high": ({"temperature": 2.1}, "temperature"),
    "temperature low": ({"temperature": -0.1}, "temperature"),
    "temperature a string": ({"temperature": "1"}, "temperature"),
    "temperature true": ({"temperature": True}, "temperature"),
    "top_p 0": ({"top_p": 0}, "top_p"),
    "top_p high": ({"top_p": 1.1}, "top_p"),
    "presence_penalty": ({"presence_penalty": 3}, "presence_penalty"),
    "frequency_penalty": ({"frequency_penalty": -3}, "frequency_penalty"),
    "max_tokens 0": ({"max_tokens": 0}, "max_tokens"),
    "max_tokens a fraction": ({"max_tokens": 1.5}, "max_tokens"),
    "max_completion_tokens": ({"max_completion_tokens": -1}, "max_completion_tokens"),
    "seed too large": ({"seed": 2**63}, "seed"),
    "seed a string": ({"seed": "1"}, "seed"),
    "five stops": ({"stop": list("abcde")}, "stop"),
    "an empty stop": ({"stop": ""}, "stop"),
    "a long stop": ({"stop": "x" * 257}, "stop"),
    "a stop that is a number": ({"stop": 3}, "stop"),
    "stream a string": ({"stream": "yes"}, "stream"),
    "stream_options": ({"stream_options": {"x": 1}}, "stream_options.x"),
    "n 2": ({"n": 2}, "n"),
    "tools": ({"tools": [{"type": "function"}]}, "tools"),
    "JSON wanted": ({"response_format": {"type": "json_object"}}, "response_format.type"),
    "unknown field": ({"temprature": 1}, "temprature"),
    "a stop that is no text": ({"stop": "\ud800"}, "stop[0]"),
    "a long field": ({"x" * 2000: 1}, "x" * 128),
    "a model that is no text": ({"model": "\ud800"}, "model"),
}


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_a_bad_field_is_named(fake, fields, param):
    body = {name: value for name, value in {**HELLO, **fields}.items() if value is not None}
    response = post(fake, content=json.dumps(body), headers=JSON)
    assert response.status_code == 400
    assert error(response)["param"] == param
    assert error(response)["type"] == "invalid_request_error"


BAD_BODIES = {
    "empty": b"",
    "no json": b"{",
    "a list": b"[]",
    "null": b"null",
    "a string": b'"x"',
    "no utf-8": b'{"model": "\xff"}',
    "deep": b"[" * 3000,
    "a number of 4,000 digits": b'{"model": ' + b"9" * 4000 + b"}",
    "a field that is no text": json.dumps({**HELLO, "\ud800": 1}).encode(),
    "a hundred unknown fields": json.dumps(
        {**HELLO, **dict.fromkeys(map(str, range(100)))}
    ).encode(),
    "NaN": json.dumps({**HELLO, "temperature": float("nan")}).encode(),
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_bad_body_is_a_400(fake, body):
    response = post(fake, content=body, headers=JSON)
    assert response.status_code == 400
    assert error(response)["type"] == "invalid_request_error"


def test_a_body_that_is_not_called_json_is_a_400(fake):
    response = post(fake, content=json.dumps(HELLO), headers={"Content-Type": "text/plain"})
    assert response.status_code == 400


def chunks(size: int, count: int):
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("content", [b"x" * 5000, chunks(1000, 10)], ids=["stated", "in chunks"])
def test_a_body_over_the_limit_is_a_413(fake, content):
    response = post(fake, content=content, headers=JSON)
    assert response.status_code == 413
    assert error(response)["code"] == "request_too_large"


OTHER_ROUTES = {
    "unknown": ("GET", "/v1/nothing", 404, "unknown_url"),
    "the page of the docs": ("GET", "/docs", 404, "unknown_url"),
    "wrong method": ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    "unknown model": ("GET", "/v1/models/gpt-9", 404, "model_not_found"),
    "a path as a model": ("GET", "/v1/models/../../etc/passwd", 404, "unknown_url"),
}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"), OTHER_ROUTES.values(), ids=OTHER_ROUTES.keys()
)
def test_other_errors_have_the_same_form(fake, method, path, status, code):
    response = httpx.request(method, fake.url + path)
    assert response.status_code == status
    assert error(response)["code"] == code


def test_an_unknown_model_is_a_404_that_names_ours(fake):
    response = post(fake, json={**HELLO, "model": "gpt-9"})
    assert response.status_code == 404
    assert error(response)["code"] == "model_not_found"
    assert error(response)["param"] == "model"
    assert "'fake'" in error(response)["message"]


FOREIGN = [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models", "/nothing"])
def test_another_site_is_refused_everywhere(fake, headers, path):
    response = httpx.get(fake.url + path, headers=headers)
    assert response.status_code == 403
    assert error(response)["type"] == "invalid_request_error"
    assert "access-control-allow-origin" not in response.headers


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,authorization",
}


def test_a_page_that_may_call_is_told_so_and_no_other():
    ours, other = {"Origin": "https://ui.lan"}, {"Origin": "https://evil.example"}
    with fake_server(allowed_origins=["https://ui.lan"]) as running:
        url = f"{running.url}/v1/chat/completions"
        asked = httpx.options(url, headers={**ours, **PREFLIGHT})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "https://ui.lan"
        answer = httpx.post(url, json=HELLO, headers=ours)
        assert answer.headers["access-control-allow-origin"] == "https://ui.lan"
        refused = httpx.options(url, headers={**other, **PREFLIGHT})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers


REFUSALS = {
    "context_length_exceeded": (400, "context_length_exceeded", "messages"),
    "invalid_request": (400, "invalid_request", "messages"),
    "kv_cache_exhausted": (400, "kv_cache_exhausted", "messages"),
    "internal": (500, "internal_error", None),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_the_engine_refuses_has_a_status_streamed_or_not(fake, refusal, stream):
    response = fake.chat(f"refuse {refusal}", stream=stream)
    status, code, param = REFUSALS[refusal]
    assert response.status_code == status
    assert (error(response)["code"], error(response)["param"]) == (code, param)


def test_a_stream_is_made_of_events_as_the_api_has_them(fake):
    response = fake.chat("say Hello world", stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    found = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    first, *middle, last, usage = found
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle) == "Helloworld"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert all(chunk["usage"] is None for chunk in found[:-1])
    assert len({chunk["id"] for chunk in found}) == 1


def test_without_the_option_no_chunk_speaks_of_usage(fake):
    assert '"usage"' not in fake.chat("say Hello", stream=True).text


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_generation(fake, stream):
    body = json.dumps(
        {**HELLO, "messages": [{"role": "user", "content": "count"}], "stream": stream}
    )
    with socket.create_connection(("127.0.0.1", fake.port)) as client:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        client.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for(lambda: fake.engine.in_flight == 1)
        if stream:
            assert client.recv(10) == b"HTTP/1.1 2"
    wait_for(lambda: fake.engine.in_flight == 0, 5)


def test_a_full_queue_is_a_429_that_says_when():
    with fake_server(max_concurrent=1, max_queue=1) as full:
        with httpx.Client() as client:
            url = f"{full.url}/v1/chat/completions"
            busy = {**HELLO, "messages": [{"role": "user", "content": "count"}], "stream": True}
            with client.stream("POST", url, json=busy), client.stream("POST", url, json=busy):
                wait_for(lambda: full.engine.in_flight == 2)
                response = full.chat("say Hello")
                assert response.status_code == 429
                assert error(response)["type"] == "rate_limit_error"
                assert int(response.headers["retry-after"]) >= 1
                assert httpx.get(f"{full.url}/health").status_code == 200
        wait_for(lambda: full.engine.in_flight == 0)
        assert full.chat("say Hello").status_code == 200


def test_no_secret_of_the_server_reaches_the_engine(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LOCAL_OPUS_TOKEN", "secret")
    with fake_server() as running:
        names = running.chat("environment").json()["choices"][0]["message"]["content"].split()
    assert "PATH" in names
    assert not {"OPENAI_API_KEY", "LOCAL_OPUS_TOKEN"} & set(names)
