"""A loaded model: the pipeline, the prompt's tokens, the generation config of a request."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from local_opus.runtime.engine_protocol import (
    ChatMessage,
    FailureCode,
    Generate,
    Load,
    Loaded,
    Sampling,
)
from local_opus.runtime.prompt import Marker, encode_parts, special_tokens

if TYPE_CHECKING:
    import openvino
    import openvino_genai

#: Tokens that end a turn in the chat formats of the model families (ChatML, Llama 3, Phi, Gemma,
#: Mistral, DeepSeek). A model's own end token comes on top; a name that the vocabulary lacks
#: does not count.
TURN_ENDS = (
    b"<|im_end|>",
    b"<|endoftext|>",
    b"<|eot_id|>",
    b"<|eom_id|>",
    b"<|end_of_text|>",
    b"<|end|>",
    b"<end_of_turn>",
    b"</s>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>".encode(),
)

#: A temperature below this is greedy, and no top_p is smaller: the library counts in 32 bits, where
#: 1e-46 is 0 and logits by 1e-40 are infinite. At 1e-4 a logit that is 0.01 lower is chosen once
#: in e^100 times.
COLDEST = 1e-4


class RequestError(Exception):
    """A request that this model can't answer; ``code`` is one of the protocol's failure codes."""

    def __init__(self, code: FailureCode, text: str) -> None:
        super().__init__(text)
        self.code: FailureCode = code


@dataclass(frozen=True)
class Model:
    """What is loaded. ``limit`` is the number of tokens of prompt and answer together."""

    pipeline: openvino_genai.ContinuousBatchingPipeline
    tokenizer: openvino_genai.Tokenizer
    end_tokens: frozenset[int]
    limit: int
    #: Tokens that the tokenizer returns for the longest text: it cuts what is longer.
    tokenizer_limit: int
    #: Bytes of the longest token of the vocabulary.
    longest_token: int
    #: Tokens that one step takes at most, of all requests together.
    step_tokens: int
    marker: Marker
    #: Whether ``limit`` is that of one step: without dynamic_split_fuse a prompt goes through one,
    #: and so does, with what is answered so far, a request that had to make room for others.
    in_one_step: bool = False

    def prompt_tokens(self, request: Generate) -> openvino.Tensor:
        """Return the prompt's tokens. Raises RequestError when they leave no room for an answer."""
        parts = self._parts(request)
        # A token holds at most so many bytes, and a part has at least one token, so this text is
        # too long without counting.
        size = sum(len(part.encode()) for part in parts)
        if size > self.limit * self.longest_token or len(parts) > self.limit:
            raise self._too_long(f"more than {self.limit}")
        if not parts:
            raise RequestError("invalid_request", "the prompt has no tokens")
        tokens, cut = self._encode(parts)
        count = int(tokens.shape[1])
        if count >= self.limit:
            raise self._too_long(f"at least {count}" if cut else str(count))
        if not count:
            raise RequestError("invalid_request", "the prompt has no tokens")
        return tokens

    def _parts(self, request: Generate) -> list[str]:
        """Return the prompt's text, in parts where a special token in a message is to stay text."""
        if "messages" not in request:
            return [request["prompt"]] if request["prompt"] else []
        messages, mark = self.marker.mark(request["messages"])
        text = self._render(messages)
        parts = [text] if mark is None else text.split(mark)
        return [part for part in parts if part]

    def _encode(self, parts: list[str]) -> tuple[openvino.Tensor, bool]:
        """Return the tokens of ``parts``, and whether the tokenizer may have cut them."""
        if len(parts) == 1:
            tokens = self.tokenizer.encode(parts[0], add_special_tokens=False).input_ids
            return tokens, int(tokens.shape[1]) >= self.tokenizer_limit
        import openvino

        array = encode_parts(self.tokenizer, parts)
        return openvino.Tensor(array), array.shape[1] >= self.tokenizer_limit

    def _render(self, messages: list[ChatMessage]) -> str:
        try:
            # The C++ renderer only: a model's template is a stranger's program.
            text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            text = f"the model's chat template refuses these messages: {reason}"
            raise RequestError("invalid_request", text) from error
        return cast("str", text)

    def _too_long(self, count: str) -> RequestError:
        holds = "the model's context holds"
        if self.in_one_step:
            holds = "a step (max_num_batched_tokens; dynamic_split_fuse is false) takes"
        text = (
            f"{holds} {self.limit} tokens for prompt and answer together, "
            f"but the prompt has {count}"
        )
        return RequestError("context_length_exceeded", text)

    def generation_config(
        self, sampling: Sampling, prompt_tokens: int
    ) -> openvino_genai.GenerationConfig:
        """Return the library's config for one request. Raises RequestError."""
        import openvino_genai

        room = self.limit - prompt_tokens
        wanted = sampling["max_tokens"]
        config = openvino_genai.GenerationConfig()
        config.eos_token_id = min(self.end_tokens)
        config.stop_token_ids = set(self.end_tokens)
        config.max_new_tokens = room if wanted is None else min(wanted, room)
        config.presence_penalty = sampling["presence_penalty"]
        config.frequency_penalty = sampling["frequency_penalty"]
        config.repetition_penalty = sampling["repetition_penalty"]
        if sampling["temperature"] >= COLDEST:
            config.do_sample = True
            config.temperature = sampling["temperature"]
            config.top_p = max(sampling["top_p"], COLDEST)
            if sampling["top_k"] is not None:
                config.top_k = sampling["top_k"]
            seed = secrets.randbits(32) if sampling["seed"] is None else sampling["seed"]
            # The library's generator takes 32 bits; a negative seed is a valid one in the API.
            config.rng_seed = seed % 2**32
        try:
            config.validate()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise RequestError("invalid_request", reason) from error
        return config


def load(message: Load) -> tuple[Model, Loaded]:
    """Load the model and measure what its tokenizer can do. Raises what the library raises."""
    import openvino
    import openvino_genai

    started = time.monotonic()
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = message["cache_size_gb"]
    scheduler.max_num_seqs = message["max_concurrent"]
    scheduler.enable_prefix_caching = message["prefix_caching"]
    if (batched := message.get("max_num_batched_tokens")) is not None:
        scheduler.max_num_batched_tokens = batched
    if (split := message.get("dynamic_split_fuse")) is not None:
        scheduler.dynamic_split_fuse = split
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        message["folder"], scheduler, message["device"], message["properties"]
    )
    tokenizer = pipeline.get_tokenizer()
    if not tokenizer.chat_template:
        raise RuntimeError("the model's tokenizer has no chat template")
    vocabulary: dict[bytes, int] = tokenizer.get_vocab()
    ends = _end_tokens(pipeline, tokenizer, vocabulary)
    # The tokenizer cuts a text at a length that is part of its graph, and tells nobody.
    probe = tokenizer.encode(" a" * (message["context_length"] + 1), add_special_tokens=False)
    tokenizer_limit = int(probe.input_ids.shape[1])
    limit = min(message["context_length"], tokenizer_limit)
    # The library's scheduler raises in ``step()`` for a longer one, which would end all requests.
    in_one_step = not scheduler.dynamic_split_fuse and scheduler.max_num_batched_tokens < limit
    if in_one_step:
        limit = scheduler.max_num_batched_tokens
    marker = Marker(special_tokens(tokenizer, vocabulary))
    longest = max(map(len, vocabulary))
    # Each request that runs has one token in a step at least.
    most = max(scheduler.max_num_batched_tokens, scheduler.max_num_seqs)
    model = Model(
        pipeline, tokenizer, ends, limit, tokenizer_limit, longest, most, marker, in_one_step
    )
    device = message["device"]
    loaded: Loaded = {
        "model": message["model"],
        "device": device,
        "device_name": str(openvino.Core().get_property(device, "FULL_DEVICE_NAME")),
        "context_length": limit,
        "end_tokens": sorted(ends),
        "runtime": f"openvino-genai {openvino_genai.__version__}",
        "load_seconds": round(time.monotonic() - started, 3),
    }
    return model, loaded


def _end_tokens(
    pipeline: openvino_genai.ContinuousBatchingPipeline,
    tokenizer: openvino_genai.Tokenizer,
    vocabulary: dict[bytes, int],
) -> frozenset[int]:
    """Return the tokens that end an answer."""
    config = pipeline.get_config()
    ends = {int(token) for token in config.stop_token_ids}
    ends |= {config.eos_token_id, tokenizer.get_eos_token_id()}
    ends |= {vocabulary[name] for name in TURN_ENDS if name in vocabulary}
    ends = {token for token in ends if token >= 0}
    if not ends:
        raise RuntimeError("the model names no token that ends an answer")
    return frozenset(ends)
