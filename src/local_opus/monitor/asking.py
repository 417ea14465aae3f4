"""What a server says over HTTP: its health, and how fast it answers a short question."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from local_opus.host import http_probe
from local_opus.host.http_probe import ProbeError
from local_opus.monitor.sight import Canary, Engine, Health

#: Seconds for ``/health``, which the event loop answers whatever the engine does.
HEALTH_SECONDS = 5.0
#: Greedy, and short: 16 tokens are some hundredths of a second's work for a small model on a good
#: CPU, and a few seconds' for a large one.
QUESTION = "Count from one to ten."
TOKENS = 16
_OK = 200
#: What a server with keys says to who has none, or a wrong one.
_LOCKED = (401, 403)

Headers = Mapping[str, str]


def health(address: str, port: int, headers: Headers) -> tuple[Health, Engine | None]:
    """Ask ``/health``; what is no answer of our server is a problem, never an exception."""
    try:
        reply = http_probe.get(address, port, "/health", seconds=HEALTH_SECONDS, headers=headers)
    except ProbeError as error:
        return Health(problem=str(error)), None
    if reply.status in _LOCKED:
        return Health(seconds=round(reply.seconds, 4), locked=True), None
    if reply.status != _OK:
        return Health(seconds=round(reply.seconds, 4), problem=f"status {reply.status}"), None
    try:
        engine = _engine(json.loads(reply.body)["engine"])
    except (ValueError, KeyError, TypeError, RecursionError):
        problem = "the answer is not that of our server"
        return Health(seconds=round(reply.seconds, 4), problem=problem), None
    return Health(seconds=round(reply.seconds, 4)), engine


def _engine(said: Mapping[str, Any]) -> Engine:
    return Engine(
        state=str(said["state"])[:40],
        reason=_line(said.get("reason")),
        pid=_whole(said.get("pid")),
        restarts=_whole(said.get("restarts")) or 0,
        requests_in_flight=_whole(said.get("requests_in_flight")) or 0,
        turn_age=_number(said.get("turn_age")),
        turn_limit=_number(said.get("turn_limit")),
    )


def _line(value: object) -> str:
    return "".join(one for one in str(value or "") if one.isprintable())[:300]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and isinstance(value, int | float) else None


def canary(address: str, port: int, seconds: float, headers: Headers) -> Canary:
    """Ask the question; return how long the answer took, or what was wrong with it."""
    payload = {
        "model": "",
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        payload["model"] = _model(address, port, headers)
        lines = http_probe.post_lines(
            address, port, "/v1/chat/completions", payload, seconds=seconds, headers=headers
        )
        return _timed(lines)
    except ProbeError as error:
        if error.status in _LOCKED:
            return Canary(skipped="the server wants a key")
        return Canary(problem=str(error))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return Canary(problem="the answer is not that of our server")


def _model(address: str, port: int, headers: Headers) -> str:
    """Return the name of the model that is served."""
    reply = http_probe.get(address, port, "/v1/models", seconds=HEALTH_SECONDS, headers=headers)
    if reply.status != _OK:
        raise ProbeError(f"/v1/models: status {reply.status}", reply.status)
    return str(json.loads(reply.body)["data"][0]["id"])


def _timed(lines: Iterator[tuple[float, bytes]]) -> Canary:
    first = last = total = 0.0
    tokens, ended = 0, False
    for seconds, line in lines:
        total = seconds
        if not line.startswith(b"data: "):
            continue
        data = line.removeprefix(b"data: ")
        if data == b"[DONE]":
            ended = True
            continue
        event = json.loads(data)
        if "error" in event:
            return Canary(problem=_line(event["error"].get("message")) or "an error")
        if event.get("usage"):
            tokens = int(event["usage"]["completion_tokens"])
        elif event["choices"] and event["choices"][0].get("delta", {}).get("content"):
            last = seconds
            first = first or seconds
    if not ended:
        return Canary(problem="the answer broke off")
    if not first or tokens < 1:
        return Canary(problem="the answer was empty")
    rate = (tokens - 1) / (last - first) if tokens > 1 and last > first else None
    return Canary(
        tokens=tokens,
        first_token_seconds=round(first, 4),
        total_seconds=round(total, 4),
        tokens_per_second=None if rate is None else round(rate, 2),
    )
