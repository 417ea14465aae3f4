"""What the server and the engine say to each other, in the frames of ``runtime.protocol``.

The server sends one ``load``, then any number of ``generate`` and ``cancel``, then ``shutdown``
or the end of the stream. The engine tells the stages of loading, then ``ready`` or ``load_failed``
once; it is ready when the model has answered. Every ``generate`` gets exactly one ``finished`` or
``failed``; before it, ``started`` once and ``tokens`` any number of times. One ``tokens`` frame
carries what one step made for all requests. ``metrics`` are the heartbeat: they come from the turns
of the engine's loop, at least once a second while it works (a single step may take longer) and
every few seconds while it is idle.

Times are seconds, sizes are bytes, lengths are tokens.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

#: Why a request failed: the caller's prompt, the node's memory, or a fault of the engine.
FailureCode = Literal[
    "context_length_exceeded", "kv_cache_exhausted", "invalid_request", "internal"
]
FinishReason = Literal["stop", "length", "cancelled"]


class Load(TypedDict):
    """Load a model; must be the first message."""

    op: Literal["load"]
    model: str
    folder: str
    device: str
    context_length: int
    cache_size_gb: int
    max_concurrent: int
    prefix_caching: bool
    #: Tokens of one step at most, of all requests together; missing: the library's default.
    max_num_batched_tokens: NotRequired[int | None]
    #: Whether a long prompt is split over steps, so that others go on; missing: the default.
    dynamic_split_fuse: NotRequired[bool | None]
    #: OpenVINO's own properties, e.g. ``{"INFERENCE_PRECISION_HINT": "f32"}``.
    properties: dict[str, object]
    #: Keep the engine's memory from being swapped out; missing: no.
    lock_memory: NotRequired[bool]


class ChatMessage(TypedDict):
    """One message for the model's chat template."""

    role: str
    content: str


class Sampling(TypedDict):
    """How tokens are chosen. ``temperature`` 0 is greedy; ``seed`` None draws one."""

    temperature: float
    top_p: float
    top_k: int | None
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    seed: int | None
    #: None: as many as the context has room for.
    max_tokens: int | None
    stop: list[str]


class Generate(TypedDict):
    """Answer ``messages``, or continue ``prompt`` as it stands. Exactly one of the two is given."""

    op: Literal["generate"]
    id: int
    messages: NotRequired[list[ChatMessage]]
    prompt: NotRequired[str]
    sampling: Sampling


class Cancel(TypedDict):
    """Stop a request; its ``finished`` says ``cancelled``. An unknown id is ignored."""

    op: Literal["cancel"]
    id: int


class Shutdown(TypedDict):
    """End the engine."""

    op: Literal["shutdown"]


class Loading(TypedDict):
    """What the engine does before it is ready."""

    event: Literal["loading"]
    stage: str


class WarmUp(TypedDict):
    """A short answer that the model gave before it was ready, and what its steps took."""

    #: Of all of it, the first step with its compilations included.
    seconds: float
    #: The step that took a prompt of ``prefill_tokens``.
    prefill_seconds: float
    prefill_tokens: int
    #: The slowest step that made one token.
    decode_seconds: float
    #: Tokens that one step takes at most, of all requests together.
    step_tokens: int


class MemoryLock(TypedDict):
    """What came of ``lock_memory``: bytes that can't be swapped out now, or why there are none."""

    bytes: int
    error: str | None


class Loaded(TypedDict):
    """What was loaded. ``context_length`` is what the tokenizer and the request allow."""

    model: str
    device: str
    device_name: str
    context_length: int
    end_tokens: list[int]
    runtime: str
    #: Without the warm-up.
    load_seconds: float


class Ready(Loaded):
    """The model is loaded and has answered."""

    event: Literal["ready"]
    warm_up: WarmUp
    #: None: it was not asked for.
    memory_lock: MemoryLock | None


class LoadFailed(TypedDict):
    """The model can't be loaded; the engine exits."""

    event: Literal["load_failed"]
    text: str


class Started(TypedDict):
    """The prompt was accepted; it has ``prompt_tokens`` tokens."""

    event: Literal["started"]
    id: int
    prompt_tokens: int


class Delta(TypedDict):
    """New text of one request (may be empty while a character is incomplete), and its tokens."""

    id: int
    text: str
    tokens: int


class Tokens(TypedDict):
    """What one step made."""

    event: Literal["tokens"]
    deltas: list[Delta]


class Finished(TypedDict):
    """A request ended well, or was cancelled."""

    event: Literal["finished"]
    id: int
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


class Failed(TypedDict):
    """A request failed."""

    event: Literal["failed"]
    id: int
    code: FailureCode
    text: str


class Metrics(TypedDict):
    """The engine is alive. ``cache_usage`` is the part of the KV cache in use, 0 to 1."""

    event: Literal["metrics"]
    requests: int
    cache_usage: float
    cache_bytes: int
    tokens_generated: int
    #: Turns of the loop so far, idle ones too, and the seconds of the longest since it was ready.
    turns: int
    longest_turn: float
