"""A conversation with the running server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from local_opus import node_settings
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations


@dataclass
class Conversation:
    """Keeps the messages, so that each question has the ones before it."""

    host: Host
    address: str
    port: int
    model: str
    limits: dict[str, object]
    messages: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.address}:{self.port}"

    def ask(self, question: str) -> Iterator[str]:
        """Yield the answer's pieces. Raises LocalOpusError when the server does not answer."""
        self.messages.append({"role": "user", "content": question})
        payload = {"model": self.model, "messages": self.messages, "stream": True, **self.limits}
        whole = ""
        for event in self.host.network.stream_events(
            self.address, self.port, "/v1/chat/completions", payload=payload
        ):
            piece = _content(event)
            whole += piece
            yield piece
        self.messages.append({"role": "assistant", "content": whole})


def _content(event: object) -> str:
    try:
        return str(event["choices"][0]["delta"].get("content") or "")  # type: ignore[index] # checked below
    except (KeyError, IndexError, TypeError, AttributeError):
        return ""  # the last event may hold usage alone


def open_with(
    host: Host, locations: Locations, *, max_tokens: int | None, temperature: float | None
) -> Conversation:
    """Find the server and the model that it runs. Raises LocalOpusError when nothing answers."""
    address, port = node_settings.address(host, locations)
    status, answer = host.network.request_json(address, port, "/v1/models", timeout=5)
    models = answer.get("data")
    if status != 200 or not isinstance(models, list) or not models:  # noqa: PLR2004 - HTTP OK
        raise LocalOpusError(
            f"http://{address}:{port}/v1/models: status {status}", "See `local-opus status`."
        )
    limits = {"max_tokens": max_tokens, "temperature": temperature}
    return Conversation(
        host,
        address,
        port,
        str(models[0]["id"]),
        {name: value for name, value in limits.items() if value is not None},
    )
