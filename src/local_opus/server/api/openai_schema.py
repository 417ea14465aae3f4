"""What a chat request may hold, field by field.

A field that changes the answer and is not honoured yet is accepted only with its neutral value: a
client must not believe that it got JSON, tools or log-probabilities when it did not. Fields that
are notes for the provider (``user``, ``metadata`` ...) are taken and not used.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
    model_validator,
)

from local_opus.runtime.engine_protocol import ChatMessage, Sampling
from local_opus.server.settings import GenerationDefaults

#: Stop strings at most, as OpenAI has it.
MAX_STOPS = 4
MAX_STOP_LENGTH = 256
#: Fields of one object at most; the request itself has 29. Each unknown one is an error, and a body
#: of 4 MiB has room for 400,000: collecting them takes seconds in which nobody else is answered.
MAX_FIELDS = 64
#: The range of OpenAI's ``seed``.
MIN_SEED, MAX_SEED = -(2**63), 2**63 - 1


def _is_text(text: str) -> str:
    """Return ``text``; JSON's escapes can name half a character, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half a character at {error.start}") from error
    return text


Text = Annotated[str, AfterValidator(_is_text)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, data: object) -> object:
        if isinstance(data, dict) and len(data) > MAX_FIELDS:
            raise ValueError(f"holds {len(data)} fields; at most {MAX_FIELDS} are allowed")
        return data


class Message(_Strict):
    """One message. What a client got as an answer can be sent back as it is."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text
    name: str | None = None
    refusal: None = None
    annotations: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[JsonValue], Field(max_length=0)] | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: object) -> object:
        """Accept a list of text parts, as the API has it, and join it."""
        if isinstance(content, str):
            return content
        if not isinstance(content, list) or not content:
            raise ValueError("must be a string or a list of text parts")
        texts = []
        for part in content:
            if not isinstance(part, dict) or part.get("type") != "text":
                raise ValueError("only parts of the type 'text' are supported")
            if not isinstance(part.get("text"), str) or len(part) != len(("type", "text")):
                raise ValueError("a text part has a 'text', which is a string, and nothing else")
            texts.append(part["text"])
        return "".join(texts)

    def for_template(self) -> ChatMessage:
        """Return the message for the model's chat template."""
        return {
            "role": "system" if self.role == "developer" else self.role,
            "content": self.content,
        }


class StreamOptions(_Strict):
    """Options of a streamed answer."""

    include_usage: bool = False
    #: Padding against eavesdroppers on the length of chunks; this server sends none.
    include_obfuscation: bool = False


class ResponseFormat(_Strict):
    """Plain text; JSON is not supported yet."""

    type: Literal["text"]


class ChatRequest(_Strict):
    """The body of ``POST /v1/chat/completions``."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    #: The first bad message ends the check: an error for each of a million takes gigabytes.
    messages: list[Message] = Field(min_length=1, fail_fast=True)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=MIN_SEED, le=MAX_SEED)
    stop: list[Text] | None = None
    # Neutral values only.
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: None = None
    logit_bias: dict[str, JsonValue] | None = Field(default=None, max_length=0)
    tools: list[JsonValue] | None = Field(default=None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = Field(default=None, max_length=1, fail_fast=True)
    # Notes for the provider.
    user: str | None = None
    metadata: dict[str, JsonValue] | None = None
    store: Literal[False] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _stops(cls, stop: object) -> object:
        """Accept one string too, as the API has it."""
        stops = [stop] if isinstance(stop, str) else stop
        if stops is None:
            return None
        if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
            raise ValueError("must be a string or a list of strings")
        if len(stops) > MAX_STOPS:
            raise ValueError(f"holds {len(stops)} strings; at most {MAX_STOPS} are allowed")
        if not all(0 < len(text) <= MAX_STOP_LENGTH for text in stops):
            raise ValueError(f"must hold strings of 1 to {MAX_STOP_LENGTH} characters")
        return stops

    @property
    def include_usage(self) -> bool:
        """Whether a streamed answer ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, defaults: GenerationDefaults) -> Sampling:
        """Return how tokens are chosen; what the request does not say comes from ``defaults``."""
        wanted = (
            self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        )
        return {
            "temperature": _first(self.temperature, defaults.temperature),
            "top_p": _first(self.top_p, defaults.top_p),
            "top_k": defaults.top_k,
            "presence_penalty": _first(self.presence_penalty, 0.0),
            "frequency_penalty": _first(self.frequency_penalty, 0.0),
            "repetition_penalty": defaults.repetition_penalty,
            "seed": self.seed,
            "max_tokens": defaults.max_tokens if wanted is None else wanted,
            "stop": list(dict.fromkeys(self.stop or ())),
        }


def _first(value: float | None, default: float) -> float:
    return default if value is None else value
