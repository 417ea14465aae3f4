"""The worker that asks a model how well it foretells a fixed text.

Request: ``{"folder": path of the IR, "device": "CPU", "text": "...", "properties": {...},
"piece": tokens}``. Result: ``CanaryResult``. The text is forced through the model in one go, or in
pieces where ``piece`` is given: then each reads the context that those before left in the KV cache,
in whatever precision that has. The answer is the mean of the natural log-probability that the model
gives each next token. A model whose weights were damaged, cut or swapped foretells worse, on every
device and with every precision.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypedDict, cast

from local_opus.runtime import protocol
from local_opus.runtime.worker import Emit, answer_one

if TYPE_CHECKING:
    import numpy as np
    import openvino

#: Fewer tokens than this make a mean that wavers with each of them.
MIN_TOKENS = 16


class CanaryError(Exception):
    """The question can't be asked of this model."""


class CanaryResult(TypedDict):
    """``tokens`` is the number of foretold tokens: those of the text but the first."""

    mean_log_probability: float
    tokens: int
    device: str
    device_name: str
    seconds: float
    runtime: str


def canary(request: protocol.Message, _emit: Emit) -> CanaryResult:
    """Return the mean log-probability of ``request["text"]``.

    Raises CanaryError for an unusable model or text, and what the library raises.
    """
    import openvino

    started = time.monotonic()
    folder = cast("str", request["folder"])
    device = cast("str", request["device"])
    properties = cast("dict[str, Any]", request.get("properties") or {})
    tokens = _tokens(folder, cast("str", request["text"]))
    core = openvino.Core()
    compiled = core.compile_model(f"{folder}/openvino_model.xml", device, properties)
    piece = cast("int", request.get("piece") or tokens.shape[1])
    mean = _mean_log_probability(_logits(compiled, tokens, piece), tokens)
    if not math.isfinite(mean):
        raise CanaryError(f"{folder}: the model's answer is {mean}, not a number")
    return {
        "mean_log_probability": mean,
        "tokens": int(tokens.shape[1]) - 1,
        "device": device,
        "device_name": str(core.get_property(device, "FULL_DEVICE_NAME")),
        "seconds": round(time.monotonic() - started, 3),
        "runtime": f"openvino {openvino.__version__}",
    }


def _tokens(folder: str, text: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the text's tokens, shape [1, n]. Raises CanaryError when they are too few."""
    import numpy as np
    import openvino_genai

    encoded = openvino_genai.Tokenizer(folder).encode(text, add_special_tokens=False)
    tokens = np.array(encoded.input_ids.data, dtype=np.int64)
    if tokens.shape[1] < MIN_TOKENS:
        raise CanaryError(f"the text has {tokens.shape[1]} tokens; {MIN_TOKENS} are needed")
    return tokens


def _logits(
    compiled: openvino.CompiledModel, tokens: np.ndarray[Any, Any], piece: int
) -> np.ndarray[Any, Any]:
    """Return the model's logits, shape [n, vocabulary], in double precision."""
    import numpy as np

    count = tokens.shape[1]
    known = {
        "input_ids": tokens,
        "position_ids": np.arange(count, dtype=np.int64)[None],
        "attention_mask": np.ones((1, count), np.int64),
        "beam_idx": np.zeros(1, np.int32),
    }
    names = [port.get_any_name() for port in compiled.inputs]
    if strange := [name for name in names if name not in known]:
        raise CanaryError(f"the model has an input {strange[0]!r} that a text does not fill")
    request = compiled.create_infer_request()
    found = []
    for start in range(0, count, piece):
        end = min(start + piece, count)
        # The mask is that of the whole context, the rest that of the piece.
        first = {"input_ids": start, "position_ids": start}
        fed = {
            name: known[name] if name == "beam_idx" else known[name][:, first.get(name, 0) : end]
            for name in names
        }
        logits = np.asarray(request.infer(fed)[compiled.output("logits")], dtype=np.float64)
        if logits.shape[:2] != (1, end - start):
            raise CanaryError(f"the model's logits have the shape {logits.shape}")
        found.append(logits[0])
    return np.concatenate(found)


def _mean_log_probability(logits: np.ndarray[Any, Any], tokens: np.ndarray[Any, Any]) -> float:
    import numpy as np

    shifted = logits[:-1] - logits[:-1].max(axis=-1, keepdims=True)
    normalizer = np.log(np.exp(shifted).sum(axis=-1))
    chosen = shifted[np.arange(len(shifted)), tokens[0, 1:]]
    return float((chosen - normalizer).mean())


if __name__ == "__main__":
    raise SystemExit(answer_one(canary))
