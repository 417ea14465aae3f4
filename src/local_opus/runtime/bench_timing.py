"""Runs something for a while, and says how fast it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

_MIN_RUNS = 3
_MAX_RUNS = 500
_WARM_UP = 2


@dataclass(frozen=True)
class Timing:
    """The seconds of each run, warm-up left out."""

    seconds: tuple[float, ...]

    @property
    def typical(self) -> float:
        """The median of a run in seconds."""
        return median(self.seconds)

    def rates(self, work: float) -> dict[str, float | int]:
        """Return best, median and quartiles of ``work`` per second, and the number of runs."""
        fast, _, slow = self._quartiles()
        return {
            "best": round(work / min(self.seconds), 4),
            "median": round(work / self.typical, 4),
            "low": round(work / slow, 4),
            "high": round(work / fast, 4),
            "runs": len(self.seconds),
        }

    def _quartiles(self) -> list[float]:
        if len(self.seconds) == 1:
            return [self.seconds[0]] * 3
        return quantiles(self.seconds, n=4, method="inclusive")


def repeat(run: Callable[[], object], seconds: float) -> Timing:
    """Run it for ``seconds``, three times at least, after a warm-up that counts towards them.

    A first run that takes longer than all of them is measured once more, and that is all.
    """
    deadline = time.perf_counter() + seconds
    for _ in range(_WARM_UP):
        run()
        if time.perf_counter() > deadline:
            break
    taken: list[float] = []
    now = time.perf_counter()
    while len(taken) < _MAX_RUNS and (now < deadline or len(taken) < _MIN_RUNS):
        started = now
        run()
        now = time.perf_counter()
        taken.append(max(now - started, 1e-9))
        if now - deadline > seconds:
            break
    return Timing(tuple(taken))
