"""How long `local-opus doctor` takes as a whole, and which check takes how much of it.

Usage: python bench/doctor_time.py [--rounds N] [--limit S] COMMAND...

COMMAND is the installed program (`~/.local/bin/local-opus`), or `./installer`. Each round runs
`COMMAND doctor --json` from its start to its end, after one that is not counted. Beside it, on the
same machine at the same time: `COMMAND --version`, which is the start of the program alone. Fails
where the median is above the limit (3 s). The canary is not asked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

LIMIT = 3.0
#: Exit codes of a doctor that came to its end.
ENDED = {0, 3}
#: Checks that are shown.
SHOWN = 8


def timed(command: list[str]) -> tuple[float, str]:
    """Run to the end; return the seconds and what was printed."""
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode not in ENDED:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return seconds, done.stdout


def main() -> int:
    """Measure, print, and say by the exit code whether it is quick enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    doctor = [*given.command, "doctor", "--json"]
    version = [*given.command, "--version"]
    _, out = timed(doctor)
    whole, start = [], []
    checks: dict[str, list[float]] = defaultdict(list)
    for _ in range(given.rounds):
        start.append(timed(version)[0])
        seconds, out = timed(doctor)
        whole.append(seconds)
        for one in json.loads(out)["results"]:
            checks[one["id"]].append(one["seconds"])
    found = json.loads(out)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {given.rounds} rounds")
    print(f"results: {found['summary']}")
    for name, times in (("doctor", whole), ("the start alone", start)):
        low, mid, high = min(times), statistics.median(times), max(times)
        print(f"{name:16} median {mid:.2f} s, {low:.2f} to {high:.2f} s")
    slowest = sorted(checks.items(), key=lambda item: -statistics.median(item[1]))
    for name, times in slowest[:SHOWN]:
        print(f"  {name:14} {statistics.median(times):.2f} s")
    return 0 if statistics.median(whole) <= given.limit else 1


if __name__ == "__main__":
    sys.exit(main())
