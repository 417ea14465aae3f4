"""What the processor does without OpenVINO: numpy's product, and reading and copying memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from local_opus.runtime.bench_timing import repeat
from local_opus.runtime.protocol import Message

_SIDE = 2048
#: Bytes of all buffers: more than a last-level cache holds, little enough for a small machine.
_BUFFERS = 256 * 1024 * 1024
_FLOAT_BYTES = 4


def blas(seconds: float) -> Message:
    """Return numpy's fp32 product, by its BLAS on all cores, in TFLOPS."""
    import numpy as np

    random = np.random.default_rng(0)
    left = random.standard_normal((_SIDE, _SIDE), dtype=np.float32)
    right = random.standard_normal((_SIDE, _SIDE), dtype=np.float32)
    out = np.empty_like(left)
    timing = repeat(lambda: np.matmul(left, right, out=out), seconds)
    size = f"[{_SIDE},{_SIDE}]x[{_SIDE},{_SIDE}]"
    return {"size": size, "precision": "f32", **timing.rates(2 * _SIDE**3 / 1e12)}


def read(seconds: float) -> Message:
    """Return how fast all cores together read memory, in GB/s: the largest number of each part."""
    import numpy as np

    threads = _threads()
    count = _BUFFERS // _FLOAT_BYTES // threads
    parts = [np.ones(count, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        timing = repeat(lambda: list(pool.map(np.max, parts)), seconds)
    return _stream(threads, timing.rates(count * threads * _FLOAT_BYTES / 1e9))


def copy(seconds: float) -> Message:
    """Return how fast all cores together copy memory, in GB/s read and written."""
    import numpy as np

    threads = _threads()
    count = _BUFFERS // _FLOAT_BYTES // threads // 2
    parts = [np.ones((2, count), np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        timing = repeat(
            lambda: list(pool.map(lambda pair: np.copyto(pair[0], pair[1]), parts)), seconds
        )
    return _stream(threads, timing.rates(2 * count * threads * _FLOAT_BYTES / 1e9))


def _threads() -> int:
    """Numpy lets go of Python's lock while it reads and copies, so threads do."""
    return len(os.sched_getaffinity(0))


def _stream(threads: int, rates: dict[str, float | int]) -> Message:
    return {"size": f"{_BUFFERS // 1024**2} MiB, {threads} threads", **rates}
