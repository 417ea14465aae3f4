"""How much longer ``./installer --help`` takes than ``python3 -c pass``; the bound is 0.15 s.

Usage: python3 bench/help_time.py [RUNS]. Both commands run in turn, so that a busy machine slows
both; the figures are the differences of the pairs. The first run sets the environment up and is
not counted. Ends with 1 when the median difference is over the bound.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

BOUND_SECONDS = 0.15
CHECKOUT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def seconds(command: list[str]) -> float:
    """Return how long a command takes. Raises CalledProcessError when it fails."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(runs: int) -> int:
    """Measure, print one line, and return the exit code."""
    helping = [os.path.join(CHECKOUT, "installer"), "--help"]
    nothing = ["python3", "-c", "pass"]
    seconds(helping)
    pairs = [(seconds(helping), seconds(nothing)) for _ in range(runs)]
    more = sorted(ours - theirs for ours, theirs in pairs)
    median = statistics.median(more)
    print(
        f"./installer --help: {median:.3f} s more than python3 -c pass "
        f"(median of {runs}, {more[0]:.3f} to {more[-1]:.3f}; bound {BOUND_SECONDS} s; "
        f"python3 -c pass itself: {statistics.median(theirs for _, theirs in pairs):.3f} s)"
    )
    return 0 if median <= BOUND_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
