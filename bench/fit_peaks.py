"""Compares what is told of a model's memory with what a real engine takes at its peak.

    PYTHONPATH=src:tests python bench/fit_peaks.py [--only NAME] [--requests N --prompt TOKENS]

Generates models of llama, qwen2 and qwen3 with the types of weights that the GGUF reader knows,
converts each as an install does, and serves requests with the engine worker. The largest needs
about 4 GiB of memory and as much disk; all take half an hour on two cores. Linux alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from local_opus.catalog import dimensions, needs
from local_opus.catalog.engine_memory import LIBRARIES, SERVER, Dimensions
from local_opus.catalog.needs import Serving
from local_opus.runtime import protocol
from local_opus.weights import gguf
from local_opus.weights.structure import Refusal
from models import smollm2
from peaks import Watch, measure
from shapes import Shape, write_gguf

MIB = 2**20
LLAMA = Shape("llama-0.36b", "llama", 32, 960, 2560, 15, 5, 64, 49_152)
LLAMA_1B = Shape("llama-1.2b", "llama", 16, 2048, 8192, 32, 8, 64, 128_256)
QWEN2 = Shape("qwen2-0.5b", "qwen2", 24, 896, 4864, 14, 2, 64, 151_936)
QWEN2_LARGE = Shape("qwen2-1.5b", "qwen2", 28, 1536, 8960, 12, 2, 128, 151_936)
QWEN3 = Shape("qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, 151_936)
QWEN3_LARGE = Shape("qwen3-1.7b", "qwen3", 28, 2048, 6144, 16, 8, 128, 151_936)


def _of(shape: Shape, linear: str, embedding: str, *, tied: bool = True) -> Shape:
    name = f"{shape.name}-{linear}-{embedding}{'' if tied else '-untied'}"
    return replace(shape, name=name, linear=linear, embedding=embedding, tied=tied)


SHAPES = (
    _of(LLAMA, "Q4_0", "Q8_0"),
    _of(LLAMA, "Q4_1", "F16"),
    _of(LLAMA, "F16", "Q8_0", tied=False),
    _of(LLAMA_1B, "Q4_0", "Q6_K"),
    _of(QWEN2, "Q8_0", "Q8_0"),
    _of(QWEN2, "F16", "F16"),
    _of(QWEN2_LARGE, "Q4_0", "Q8_0"),
    _of(QWEN3, "Q4_0", "Q8_0"),
    _of(QWEN3, "Q4_0", "Q4_0"),
    _of(QWEN3, "Q4_0", "Q4_0", tied=False),
    _of(QWEN3, "Q8_0", "Q8_0"),
    _of(QWEN3, "Q8_0", "Q8_0", tied=False),
    _of(QWEN3, "Q4_K", "Q6_K"),
    _of(QWEN3, "Q6_K", "Q6_K"),
    _of(QWEN3_LARGE, "Q4_K", "Q6_K"),
)
#: Requests at once, tokens of each prompt, and the precision of the KV cache.
LOADS = ((1, 64, None), (4, 512, None), (8, 256, "f16"), (8, 256, "u4"))


def _read(path: Path, loaded: int) -> Dimensions:
    with path.open("rb") as stream:
        info = gguf.check(stream, path.stat().st_size)
    found = None if isinstance(info, Refusal) else dimensions.of_gguf(info, loaded)
    if found is None:
        raise SystemExit(f"{path}: its dimensions can't be read")
    return found


def _convert(path: Path, folder: Path) -> int:
    """Convert as an install does; return the peak of the worker's own memory."""
    worker = subprocess.Popen(
        [sys.executable, "-s", "-P", "-m", "local_opus.runtime.convert"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    watch = Watch(worker.pid)
    out, _ = worker.communicate(protocol.encode({"gguf": str(path), "folder": str(folder)}))
    watch.stop()
    last = protocol.Decoder().feed(out)[-1]
    if "result" not in last:
        raise SystemExit(f"{path}: {last}")
    return watch.peak.anonymous


def _row(words: str, told: int, taken: int) -> bool:
    ratio = told / taken
    near = 0.85 <= ratio <= 1.15  # noqa: PLR2004 - what the estimate promises
    mark = "" if near else "  <-- off"
    print(f"{words:<58} {told / MIB:7.0f} {taken / MIB:8.0f} {ratio:6.2f}{mark}", flush=True)
    return near


def _loads(name: str, folder: Path, sized: Dimensions, loads: tuple) -> list[bool]:  # type: ignore[type-arg]
    near = []
    for requests, prompt, precision in loads:
        properties = {"PERFORMANCE_HINT": "LATENCY"}
        if precision is not None:
            properties["KV_CACHE_PRECISION"] = precision
        found = measure(folder, requests, prompt, properties=properties)
        longest = max(sum(one) for one in found.tokens)
        told = needs.serving(sized, Serving(requests, longest, 1, precision)).bytes
        words = f"{name}  {requests} x {longest} tokens {precision or ''}"
        near.append(_row(words, told, found.serving.anonymous + LIBRARIES + SERVER))
    return near


def main() -> int:
    """Print the table; return 1 where an estimate is off by more than 15 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--folder", help="where to write; by default below the temporary files")
    given = parser.parse_args()
    loads = LOADS if given.requests is None else ((given.requests, given.prompt, None),)
    print(json.dumps({"unit": "MiB", "told": "catalog/needs.py", "peak": "own memory"}))
    print(f"{'model':<58} {'told':>7} {'peak':>8} {'ratio':>6}")
    near: list[bool] = []
    if given.only in "smollm2-135m":
        path, folder = smollm2()
        sized = _read(path, (folder / "openvino_model.bin").stat().st_size)
        near += _loads("smollm2-135m (real)", folder, sized, loads)
    for shape in SHAPES:
        if given.only not in shape.name:
            continue
        work = Path(tempfile.mkdtemp(prefix="fit-peaks-", dir=given.folder))
        try:
            path = work / "model.gguf"
            size = write_gguf(shape, path)
            peak = _convert(path, work / "ir")
            loaded = (work / "ir" / "openvino_model.bin").stat().st_size
            sized = _read(path, loaded)
            path.unlink()
            told = needs.conversion_bytes(loaded, shape.linear)
            near.append(_row(f"{shape.name}  convert {size / MIB:.0f} MiB", told, peak))
            near += _loads(shape.name, work / "ir", sized, loads)
        finally:
            shutil.rmtree(work)
    return 0 if all(near) else 1


if __name__ == "__main__":
    raise SystemExit(main())
