"""The worker that measures one device: products in int8, half and single precision, and memory.

Request: ``{"device": "GPU.1", "what": ["int8", ...], "seconds": 30.0, "limit": 50.0, "memory":
bytes}``: seconds to measure in, and seconds after which no further figure is begun. An event
``{"event": "figure", "figure": Measurement}`` follows each figure, so that what was measured
outlives a crash; result: ``{"openvino": version, "device": ..., "full_name": ...}``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from local_opus.runtime import bench_host, bench_ran
from local_opus.runtime.bench_graphs import Graph, Size, build, error_of
from local_opus.runtime.bench_timing import Timing, repeat
from local_opus.runtime.protocol import Message
from local_opus.runtime.worker import Emit, answer_one, last_line

if TYPE_CHECKING:
    import openvino

#: From small to large, until a run is long enough that its start does not count, or memory ends.
_LADDER = ((256, 512), (512, 1024), (1024, 2048), (2048, 4096), (4096, 4096))
_LAYERS = 4
#: A run this long hides what starting it costs; the next size would take four times as long.
_LONG_ENOUGH = 0.1
#: Share of a figure's time after which no larger size is begun.
_ENOUGH_TRIED = 0.6
#: Copies of the weights that live at once: numpy's, the graph's, the plugin's, one on its way.
_COPIES = 4
_FLOAT_BYTES = 4
#: Weights that no cache holds: the largest last-level caches of one socket are below half of it.
_STREAM_WIDTH = 4096
_STREAM_LAYERS = {"decode": (8, 4, 2, 1), "decode-int8": (16, 8, 4, 2, 1)}
#: Making and compiling one layer takes so many seconds on a slow machine.
_LAYER_SECONDS = 0.2
_SMALLEST_STREAM = Size(1, _STREAM_WIDTH, 1)
#: The plugin's word for a precision, and the bytes of a weight in it.
_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "i8": 1}
#: How far an answer may lie from the right one: rounding of bf16 (8 bits) and of int8.
_TOLERANCE = {"int8": 0.2, "half": 0.05, "fp32": 0.001, "decode": 0.05, "decode-int8": 0.05}
_WANTED = {"int8": {"i8"}, "half": {"f16", "bf16"}, "fp32": {"f32"}}


class Bench:
    """One device and the limits that hold for it."""

    def __init__(self, core: openvino.Core, device: str, seconds: float, memory: int) -> None:
        """``seconds``: of one figure; ``memory``: bytes that it may take."""
        self._core = core
        self._device = device
        self._seconds = seconds
        self._memory = memory

    def hints(self, what: str) -> tuple[str | None, ...]:
        """Return the precisions to try; the fastest that really ran counts."""
        kind = self._device.partition(".")[0]
        if kind == "NPU":  # it knows f16 only, and needs no hint for it
            return () if what == "fp32" else (None,)
        if what in {"fp32", "int8", "decode-int8"}:
            return ("f32",) if kind == "CPU" or what == "fp32" else ("f16",)
        if what == "half":
            return ("bf16", "f16") if kind == "CPU" else ("f16",)
        return ("f32",) if kind == "CPU" else ("f16",)

    def products(self, what: str) -> Message:
        """Measure products of growing size; return the fastest size's figure."""
        hints = self.hints(what)
        if not hints:
            return {"what": what, "lacks": "an NPU computes in f16 and int8"}
        until = time.perf_counter() + self._seconds * _ENOUGH_TRIED
        found: list[Message] = []
        for rows, width in _LADDER:
            size = Size(rows, width, _LAYERS)
            if found and not self._fits(size):
                break
            graph = build(size, int8=what == "int8")
            tried = [self._product(what, hint, graph, size) for hint in hints]
            found += tried
            run = min(size.operations / 1e12 / cast("float", one["median"]) for one in tried)
            if run > _LONG_ENOUGH or time.perf_counter() > until:
                break
        return self._best_that_ran(what, found)

    def _product(self, what: str, hint: str | None, graph: Graph, size: Size) -> Message:
        share = self._seconds / len(_LADDER) / len(self.hints(what))
        timing, known = self._run(what, hint, graph, share)
        return {"what": what, "size": str(size), **known, **timing.rates(size.operations / 1e12)}

    @staticmethod
    def _best_that_ran(what: str, found: list[Message]) -> Message:
        """Take the fastest of those that ran as asked; of none, the fastest and what it ran as."""
        wanted = _WANTED[what]
        told = [one for one in found if one["precision"] is None or one["precision"] in wanted]
        best = max(told or found, key=lambda one: cast("float", one["median"]))
        if told:
            return best
        return {**best, "lacks": f"it ran in {best['precision']}: this device has no {what}"}

    def decode(self, what: str) -> Message:
        """Measure how fast weights are read by products with one row."""
        compressed = what == "decode-int8"
        size = next((one for one in self._streams(what) if self._fits(one)), _SMALLEST_STREAM)
        graph = build(size, int8=False, compressed=compressed)
        timing, known = self._run(what, self.hints(what)[0], graph, self._seconds)
        # An NPU's graph tells no precision: f16 is what it computes in.
        of_weight = 1 if compressed else _BYTES.get(str(known["precision"] or "f16"), 0)
        if not of_weight:
            return {"what": what, "problem": f"weights of {known['precision']}: bytes unknown"}
        rates = timing.rates(size.weights * of_weight / 1e9)
        return {"what": what, "size": str(size), **known, **rates}

    def _streams(self, what: str) -> Iterator[Size]:
        """Yield sizes from the largest on that there is time to make."""
        for layers in _STREAM_LAYERS[what]:
            if layers * _LAYER_SECONDS <= self._seconds:
                yield Size(1, _STREAM_WIDTH, layers)

    def _run(
        self, what: str, hint: str | None, graph: Graph, seconds: float
    ) -> tuple[Timing, Message]:
        """Compile, compare the answer, and run; return the times and what is known of the run."""
        properties = {"PERFORMANCE_HINT": "LATENCY"}
        if hint is not None:
            properties["INFERENCE_PRECISION_HINT"] = hint
        compiled = self._core.compile_model(graph.model, self._device, properties)
        precision, kernels = bench_ran.ran(compiled)
        request = compiled.create_infer_request()
        answer = request.infer({0: graph.given})[compiled.output(0)]
        error = error_of(answer, graph.expected)
        known: Message = {"precision": precision, "kernels": list(kernels)[:4], "right": True}
        if error > _TOLERANCE[what]:
            known |= {"right": False, "problem": f"the answer is wrong by {error:.1%}"}
        return repeat(lambda: request.infer({0: graph.given}), seconds), known

    def _fits(self, size: Size) -> bool:
        numbers = size.weights + 2 * size.rows * size.width
        return numbers * _FLOAT_BYTES * _COPIES <= self._memory


def handle(request: Message, emit: Emit) -> Message:
    """Measure what is asked for; an error of one figure is that figure's problem."""
    import openvino

    begun = time.perf_counter()
    limit = float(cast("float", request["limit"]))
    device = str(request["device"])
    asked = [str(one) for one in cast("list[object]", request["what"])]
    seconds = float(cast("float", request["seconds"])) / max(1, len(asked))
    core = openvino.Core()
    full_name = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
    bench = Bench(core, device, seconds, int(cast("int", request["memory"])))
    ways: dict[str, Callable[[str], Message]] = {
        **dict.fromkeys(("int8", "half", "fp32"), bench.products),
        **dict.fromkeys(("decode", "decode-int8"), bench.decode),
        "blas-fp32": lambda _: bench_host.blas(seconds),
        "read": lambda _: bench_host.read(seconds),
        "copy": lambda _: bench_host.copy(seconds),
    }
    for what in asked:
        started = time.perf_counter()
        in_time = started - begun < limit
        figure = _guarded(ways[what], what) if in_time else {"lacks": "no time was left for it"}
        figure = {**figure, "what": what, "seconds": round(time.perf_counter() - started, 2)}
        emit({"event": "figure", "figure": figure})
    return {"openvino": str(openvino.get_version()), "device": device, "full_name": full_name}


def _guarded(measure: Callable[[str], Message], what: str) -> Message:
    try:
        return measure(what)
    except Exception as error:  # noqa: BLE001 - plugins raise what they like; the text is kept
        return {"what": what, "problem": last_line(error)}


if __name__ == "__main__":
    raise SystemExit(answer_one(handle))
