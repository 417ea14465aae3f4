"""A short answer before the engine is ready: the model is seen to answer, and its steps are timed.

The first step of a model compiles and takes memory, so it is many times slower than those after it:
it is not measured, and no client waits for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from local_opus.runtime.engine_protocol import Generate, Sampling, WarmUp
from local_opus.runtime.model import Model, RequestError

if TYPE_CHECKING:
    import openvino

#: Tokens of the prompt whose step is timed: enough that the weights, which each step reads once,
#: are not all of its time; few enough that the slowest machine takes seconds.
PROMPT = 64
#: Tokens of the answer that is timed; the first is the prompt's step's.
ANSWER = 3
#: Tokens of the untimed answer.
FIRST_ANSWER = 2
#: Steps of one answer at most; a model that takes more makes no tokens.
_MOST_STEPS = 1000
_GREEDY: Sampling = {
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "seed": 0,
    "max_tokens": FIRST_ANSWER,
    "stop": [],
}


def warm_up(model: Model) -> WarmUp:
    """Have ``model`` answer twice; return what its steps took.

    Raises RuntimeError where it makes no token, and what the library raises.
    """
    begin = time.monotonic()
    _answer(model, _first_prompt(model), 1, FIRST_ANSWER)
    tokens = _tokens(model, min(PROMPT, model.limit - ANSWER - 1))
    prefill, decode = _answer(model, tokens, 2, ANSWER)
    return {
        "seconds": round(time.monotonic() - begin, 3),
        "prefill_seconds": round(prefill, 4),
        "prefill_tokens": int(tokens.shape[1]),
        "decode_seconds": round(decode, 4),
        "step_tokens": model.step_tokens,
    }


def _first_prompt(model: Model) -> openvino.Tensor:
    """Return the prompt of a chat; of a template that refuses so short a one, plain text."""
    request: Generate = {"op": "generate", "id": 1, "sampling": _GREEDY}
    try:
        return model.prompt_tokens({**request, "messages": [{"role": "user", "content": "Hi"}]})
    except RequestError as error:
        if model.in_one_step and error.code == "context_length_exceeded":
            raise  # no chat could be answered
        return model.prompt_tokens({**request, "prompt": "Hi"})


def _tokens(model: Model, count: int) -> openvino.Tensor:
    import numpy as np
    import openvino

    some = model.tokenizer.encode("The Sun is a star.", add_special_tokens=False).input_ids.data
    return openvino.Tensor(np.resize(some, (1, max(1, count))))


def _answer(model: Model, prompt: openvino.Tensor, number: int, tokens: int) -> tuple[float, float]:
    """Return the seconds until the first token, and of the slowest step after it."""
    config = model.generation_config({**_GREEDY, "max_tokens": tokens}, int(prompt.shape[1]))
    config.ignore_eos = True
    handle = model.pipeline.add_request(number, prompt, config)
    prefill = slowest = 0.0
    made = steps = 0
    while model.pipeline.has_non_finished_requests() and steps < _MOST_STEPS:
        begin = time.monotonic()
        model.pipeline.step()
        took = time.monotonic() - begin
        steps += 1
        if made:
            slowest = max(slowest, took)
        else:
            prefill += took
        while handle.can_read():
            made += sum(len(output.generated_ids) for output in handle.read().values())
    if not made:
        raise RuntimeError(f"the model made no token in {steps} steps")
    return prefill, slowest or prefill
