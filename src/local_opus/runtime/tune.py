"""The worker that measures one set of OpenVINO's settings, on a model or on a generated graph.

It answers each message with one frame, and ends with its input. ``open`` loads with the settings
(``Open``, ``Opened``); ``measure`` runs one round (``Measure``, ``Measured``).
``check`` compiles a tiny model with the properties alone: the plugin itself says what is legal.
``graph`` writes a graph of LLM shape into a folder. A failure is one frame ``{"error": ...}``.

Settings that a driver can't bear crash or hang this process and no other.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Protocol, TypedDict, cast

from local_opus.children import die_with_parent
from local_opus.runtime import memory_lock, protocol, worker

if TYPE_CHECKING:
    import numpy as np
    import openvino_genai

#: Forced into every request, cut or repeated to PROMPT_TOKENS: a prompt of an ordinary question.
PROMPT = (
    "You keep the light of a small island. Last night a storm came up from the west, and the "
    "supply boat did not arrive. Describe what you saw from the gallery, what you wrote into the "
    "log, which lamps you lit, and how you would tell the harbour master in the morning what is "
    "needed, in what order, and why. Name the tools, the weather and the time for every step. "
)
PROMPT_TOKENS = 128
#: Bytes of 1 kB as /proc says them.
_KIB = 1024


class Open(TypedDict):
    """What to load. ``how``: ``batched`` as the server does, ``sequential``, a bare ``graph``."""

    op: Literal["open"]
    how: Literal["batched", "sequential", "graph"]
    folder: str
    device: str
    context_length: int
    cache_size_gb: int
    properties: dict[str, object]
    #: max_num_seqs, max_num_batched_tokens, dynamic_split_fuse, enable_prefix_caching.
    scheduler: dict[str, Any]
    #: What this process does to itself: setpriority(2), mlockall(2).
    nice: NotRequired[int]
    lock_memory: NotRequired[bool]


class Opened(TypedDict):
    """Seconds, bytes; ``device_name`` and ``runtime`` in OpenVINO's words."""

    load_seconds: float
    peak_bytes: int
    device_name: str
    runtime: str


class Measure(TypedDict):
    """One round: so many requests at once, each for so many tokens, whatever they say."""

    op: Literal["measure"]
    requests: int
    tokens: int


class Measured(TypedDict):
    """What a round came to. ``first_seconds``: until the first token of the first request."""

    seconds: float
    first_seconds: float
    tokens: int
    peak_bytes: int
    after_first: NotRequired[int]


class Runner(Protocol):
    """What was loaded, and can be asked for tokens."""

    def run(self, requests: int, tokens: int) -> tuple[float, float, int, int]:
        """Return seconds, seconds to the first token, tokens, and those of them after it."""
        ...


def peak_bytes() -> int:
    """Return the most memory that this process had (proc_pid_status(5), VmHWM)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    return 0


class Batched:
    """Continuous batching, loaded as the server loads it."""

    def __init__(self, message: Open) -> None:
        from local_opus.runtime.model import load

        scheduler = message["scheduler"]
        self._model, self.ready = load(
            {
                "op": "load",
                "model": "tuned",
                "folder": message["folder"],
                "device": message["device"],
                "context_length": message["context_length"],
                "cache_size_gb": message["cache_size_gb"],
                "max_concurrent": scheduler.get("max_num_seqs", 128),
                "prefix_caching": scheduler.get("enable_prefix_caching", False),
                "max_num_batched_tokens": scheduler.get("max_num_batched_tokens"),
                "dynamic_split_fuse": scheduler.get("dynamic_split_fuse"),
                "properties": message["properties"],
            }
        )
        self._prompt = _prompt(self._model.tokenizer)
        self._number = 0

    def run(self, requests: int, tokens: int) -> tuple[float, float, int, int]:
        """Add the requests, and step until all are answered."""
        import openvino

        pipeline, config = self._model.pipeline, _config(tokens)
        begin = time.perf_counter()
        handles = []
        for _ in range(requests):
            self._number += 1
            prompt = openvino.Tensor(self._prompt)
            handles.append(pipeline.add_request(self._number, prompt, config))
        first, at_first, made = 0.0, 0, 0
        while pipeline.has_non_finished_requests():
            pipeline.step()
            for handle in handles:
                while handle.can_read():
                    made += sum(len(one.generated_ids) for one in handle.read().values())
            if made and not first:
                first, at_first = time.perf_counter() - begin, made
        return time.perf_counter() - begin, first, made, made - at_first


class Sequential:
    """One request after the other: what an NPU does, and the attention that can't be batched."""

    def __init__(self, message: Open) -> None:
        import openvino_genai

        self._pipeline = openvino_genai.LLMPipeline(
            message["folder"], message["device"], **message["properties"]
        )
        self._prompt = _prompt(self._pipeline.get_tokenizer())

    def run(self, requests: int, tokens: int) -> tuple[float, float, int, int]:
        """Answer the requests one by one."""
        import openvino
        import openvino_genai

        moments: list[float] = []

        def see(_text: str) -> openvino_genai.StreamingStatus:
            moments.append(time.perf_counter())
            return openvino_genai.StreamingStatus.RUNNING

        made = 0
        begin = time.perf_counter()
        for _ in range(requests):
            prompt = openvino.Tensor(self._prompt)
            answer = self._pipeline.generate(prompt, _config(tokens), see)
            made += sum(len(one) for one in answer.tokens)
        seconds = time.perf_counter() - begin
        first = moments[0] - begin if moments else seconds
        return seconds, first, made, max(0, made - 1)


def _config(tokens: int) -> openvino_genai.GenerationConfig:
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = config.min_new_tokens = tokens
    config.ignore_eos = True
    config.do_sample = False
    return config


def _prompt(tokenizer: openvino_genai.Tokenizer) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the fixed prompt's tokens, shape [1, PROMPT_TOKENS]."""
    import numpy as np

    encoded = tokenizer.encode(PROMPT, add_special_tokens=False)
    ids = np.array(encoded.input_ids.data, dtype=np.int64)
    if not ids.size:
        raise ValueError("the model's tokenizer makes no tokens of a text")
    return np.ascontiguousarray(np.resize(ids, (1, PROMPT_TOKENS)))


def _raise_priority(nice: int) -> None:
    """Set the niceness of this thread and of all that it starts.

    Each session of its own has a share of its own where the kernel groups them (sched(7),
    autogroup); then that is what counts beside other programs, as a unit's CPUWeight= does.
    """
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with suppress(FileNotFoundError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(nice))


def _open(message: protocol.Message) -> tuple[Runner, Opened]:
    wanted = cast("Open", message)
    if nice := wanted.get("nice"):
        _raise_priority(nice)  # before a library starts threads
    import openvino

    begin = time.perf_counter()
    runner: Runner
    if wanted["how"] == "batched":
        runner = Batched(wanted)
    elif wanted["how"] == "sequential":
        runner = Sequential(wanted)
    else:
        from local_opus.runtime.tune_graph import Graph

        runner = Graph(wanted["folder"], wanted["device"], wanted["properties"])
    if wanted.get("lock_memory") and (problem := memory_lock.lock()["error"]) is not None:
        raise OSError(problem)
    opened: Opened = {
        "load_seconds": round(time.perf_counter() - begin, 3),
        "peak_bytes": peak_bytes(),
        "device_name": str(openvino.Core().get_property(wanted["device"], "FULL_DEVICE_NAME")),
        "runtime": str(openvino.get_version()),
    }
    return runner, opened


def _measure(runner: Runner, message: Measure) -> Measured:
    seconds, first, tokens, after = runner.run(message["requests"], message["tokens"])
    return {
        "seconds": seconds,
        "first_seconds": first,
        "tokens": tokens,
        "after_first": after,
        "peak_bytes": peak_bytes(),
    }


def serve(read: Callable[[], protocol.Message | None], say: Callable[[object], None]) -> int:
    """Answer messages until there are no more; return the process's exit code."""
    runner: Runner | None = None
    while (message := read()) is not None:
        try:
            if message.get("op") == "open":
                runner, opened = _open(message)
                say(opened)
            elif message.get("op") == "measure" and runner is not None:
                say(_measure(runner, cast("Measure", message)))
            elif message.get("op") in {"check", "graph"}:
                from local_opus.runtime import tune_graph

                say(getattr(tune_graph, str(message["op"]))(message))
            else:
                raise protocol.FrameError(f"nothing can be done with {message.get('op')!r} now")
        except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
            say({"error": {"type": type(error).__name__, "text": worker.last_line(error)}})
            return 1
    return 0


def main() -> int:
    """Serve standard input and output."""
    die_with_parent()
    worker.turn_telemetry_off()
    worker.go_offline()
    out = worker.take_standard_output()
    return serve(
        lambda: protocol.read(sys.stdin.buffer),
        lambda answer: protocol.write(out, cast("protocol.Message", answer)),
    )


if __name__ == "__main__":
    raise SystemExit(main())
