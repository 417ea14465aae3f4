"""How long ``detect`` takes against a bare ``import openvino; Core().available_devices``.

Usage: python3 bench/detect_time.py [RUNS]. The bound is 1.25 times, for ``./installer detect`` and
for ``python -m local_opus detect`` in the same environment. The commands run in turn, so that a
busy machine slows all of them; the figures are the ratios of the runs that follow each other. The
first run sets the environment up and is not counted. Ends with 1 when a median is over the bound.

Run it with the environment's Python: .env/*/bin/python. The installer is started with the Python
that this environment was made with; `python3` on the PATH may be a shim that takes a tenth of a
second before any Python runs (pyenv's does). `./installer` as typed is printed beside, unjudged.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

BOUND = 1.25
CHECKOUT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BARE = "import openvino; openvino.Core().available_devices"


def seconds(command: list[str]) -> float:
    """Return how long a command takes. Raises CalledProcessError when it fails."""
    environ = {**os.environ, "PYTHONPATH": os.path.join(CHECKOUT, "src")}
    started = time.perf_counter()
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environ
    )
    return time.perf_counter() - started


def quartiles(figures: list[float]) -> str:
    """Return the middle half of the figures in words."""
    low, _, high = statistics.quantiles(figures, n=4)
    return f"half of them {low:.2f} to {high:.2f}"


def main(python: str, runs: int) -> int:
    """Measure, print a line for each command, and return the exit code."""
    installer = os.path.join(CHECKOUT, "installer")
    judged = {
        "installer detect": [os.path.realpath(python), installer, "detect"],
        "python -m local_opus detect": [python, "-m", "local_opus", "detect"],
    }
    commands = {**judged, "./installer detect, as typed": [installer, "detect"]}
    bare = [python, "-c", BARE]
    for command in (*commands.values(), bare):  # files into the cache, bytecode written
        seconds(command)
    ratios: dict[str, list[float]] = {name: [] for name in commands}
    times: list[float] = []
    for _ in range(runs):
        for name, command in commands.items():
            times.append(seconds(bare))
            ratios[name].append(seconds(command) / times[-1])
    for name, found in ratios.items():
        spread = f"{quartiles(found)}, all {min(found):.2f} to {max(found):.2f}"
        bound = f"; bound {BOUND}" if name in judged else ""
        print(
            f"{name}: {statistics.median(found):.2f} times the bare query "
            f"(median of {runs}; {spread}{bound})"
        )
    print(f"the bare query itself: {statistics.median(times):.3f} s")
    return 0 if all(statistics.median(ratios[name]) <= BOUND for name in judged) else 1


def environment() -> str:
    """Return this interpreter. Raises SystemExit where it can't import OpenVINO."""
    found = subprocess.run([sys.executable, "-c", BARE], check=False, capture_output=True)
    if found.returncode:
        raise SystemExit("run this with a Python that has openvino: .env/*/bin/python")
    return sys.executable


if __name__ == "__main__":
    sys.exit(main(environment(), int(sys.argv[1]) if len(sys.argv) > 1 else 15))
