"""What a chat request may hold, and which errors its bad forms get."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from local_opus.server.api.openai_schema import ChatRequest
from local_opus.server.settings import GenerationDefaults

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
DEFAULTS = GenerationDefaults(temperature=0.5, top_p=0.9, top_k=40, max_tokens=7)


def sampling(**fields):
    return ChatRequest.model_validate({**HELLO, **fields}).sampling(DEFAULTS)


def test_what_is_not_said_comes_from_the_config():
    assert sampling() == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "seed": None,
        "max_tokens": 7,
        "stop": [],
    }


SAID = {
    "temperature": ({"temperature": 0}, "temperature", 0.0),
    "top_p": ({"top_p": 0.1}, "top_p", 0.1),
    "seed": ({"seed": -5}, "seed", -5),
    "one stop": ({"stop": "x"}, "stop", ["x"]),
    "stops": ({"stop": ["x", "y", "x"]}, "stop", ["x", "y"]),
    "no stops": ({"stop": []}, "stop", []),
    "max_tokens": ({"max_tokens": 3}, "max_tokens", 3),
    "the newer name wins": ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", 4),
}


@pytest.mark.parametrize(("fields", "name", "value"), SAID.values(), ids=SAID.keys())
def test_what_is_said_counts(fields, name, value):
    assert sampling(**fields)[name] == value


MESSAGES = {
    "text": ({"role": "user", "content": "a"}, {"role": "user", "content": "a"}),
    "parts": (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "ab"},
    ),
    "developer": ({"role": "developer", "content": "a"}, {"role": "system", "content": "a"}),
    "an answer sent back": (
        {
            "role": "assistant",
            "content": "a",
            "refusal": None,
            "tool_calls": None,
            "annotations": [],
        },
        {"role": "assistant", "content": "a"},
    ),
}


@pytest.mark.parametrize(("message", "rendered"), MESSAGES.values(), ids=MESSAGES.keys())
def test_message(message, rendered):
    request = ChatRequest.model_validate({"model": "m", "messages": [message]})
    assert [item.for_template() for item in request.messages] == [rendered]


NEUTRAL = {
    "n": 1, "logprobs": False, "tools": [], "logit_bias": {}, "response_format": {"type": "text"},
    "modalities": ["text"], "user": "u", "metadata": {"a": "b"}, "store": False, "stream": False,
}  # fmt: skip


def test_neutral_values_are_taken():
    assert ChatRequest.model_validate({**HELLO, **NEUTRAL}).n == 1


#: Features that would change the answer, which this server does not have.
NOT_HONOURED = {
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "tools": [{"type": "function"}],
    "logit_bias": {"1": 5},
    "response_format": {"type": "json_object"},
    "modalities": ["audio"],
    "store": True,
    "reasoning_effort": "high",
}


@pytest.mark.parametrize(("field", "value"), NOT_HONOURED.items())
def test_what_is_not_honoured_is_refused(field, value):
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**HELLO, field: value})
    assert caught.value.errors()[0]["loc"][0] == field


#: Bodies of which every part is wrong; an error for each would take gigabytes and half a minute.
WRONG_THROUGHOUT = {
    "messages": {"messages": [1] * 100_000},
    "messages with fields": {"messages": [dict.fromkeys(map(str, range(1000)))]},
    "fields": dict.fromkeys(map(str, range(100_000))),
    "logit_bias": {"logit_bias": dict.fromkeys(map(str, range(100_000)))},
    "modalities": {"modalities": [1] * 100_000},
    "stop": {"stop": [1] * 100_000},
}


@pytest.mark.parametrize("fields", WRONG_THROUGHOUT.values(), ids=WRONG_THROUGHOUT.keys())
def test_the_errors_of_a_body_are_few(fields):
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**HELLO, **fields})
    assert caught.value.error_count() < 10
