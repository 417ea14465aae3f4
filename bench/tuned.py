"""Tuned against default tokens/s on this machine, with SmolLM2-135M on the server's engine.

Usage: python bench/tuned.py [--goal latency|throughput] [--seconds N] [--rounds N]
       [--setting NAME=VALUE...] [--beside] [--json]

First the search of `local-opus tune` runs for N seconds (180) and chooses; --setting names what to
compare instead. Then, in every round (10), two new processes, first the one then the other and the
next time the other way round: each loads the model, warms up, and answers five times; the median
counts. Told are tokens/s of both with their spread, and the ratio's median with its interval (see
src/local_opus/devices/paired.py). The share of the processors that other programs had is told too:
above a quarter the figures hold for a busy machine alone, and it ends with 1 unless --beside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from local_opus.catalog import load as load_catalog
from local_opus.devices import paired
from local_opus.devices.settings import candidates
from local_opus.facts import gather
from local_opus.host import Host
from local_opus.tuning import MANY, OTHERS, Search
from local_opus.tuning.workbench import Subject, Workbench
from local_opus.values.tuning import Chosen, Goal
from models import smollm2

MODEL = "smollm2-135m"
BASE = {"PERFORMANCE_HINT": "LATENCY"}
TOKENS, ANSWERS, LIMIT = 48, 5, 300.0


def chosen_by_search(host: Host, subject: Subject, goal: Goal, seconds: int) -> Chosen:
    """Return what `tune` chooses, after telling what it tried."""
    band = load_catalog().get(MODEL).canary
    facts = gather(host, disk_path="/")
    with Workbench(host, subject) as bench:
        found = Search(
            bench,
            goal=goal,
            seconds=seconds,
            clock=time.monotonic,
            band=(band.low, band.high) if band is not None else None,
        ).run(candidates(facts, subject.device, goal, BASE))
    for row in found.tried:
        ratio = row.ratio
        figures = f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio else "-"
        print(f"  {row.setting:<38} {figures:<18} {row.why}", file=sys.stderr)
    if found.problem is not None:
        print(f"  {found.problem}", file=sys.stderr)
    return found.chosen


def rate(host: Host, subject: Subject, chosen: Chosen, goal: Goal) -> tuple[float, float]:
    """Return a new process's median rate, and the share of the processors that others had."""
    requests = 1 if goal == "latency" else MANY
    with Workbench(host, subject) as bench:
        running = bench.load(chosen, None, timeout=LIMIT)
        running.measure(requests, TOKENS, timeout=LIMIT)
        before, own = bench.machine_seconds(), running.processor_seconds()
        rates = [
            running.measure(requests, TOKENS, timeout=LIMIT).rate(goal) for _ in range(ANSWERS)
        ]
        after = bench.machine_seconds()
        others = 0.0
        if before is not None and after is not None and after[1] > before[1]:
            used = after[0] - before[0] - (running.processor_seconds() - own)
            others = max(0.0, used / (after[1] - before[1]))
    return statistics.median(rates), others


def spread(rates: Sequence[float]) -> dict[str, float]:
    """Return smallest, median and largest."""
    return {
        "min": round(min(rates), 1),
        "median": round(statistics.median(rates), 1),
        "max": round(max(rates), 1),
    }


def parsed(words: Sequence[str]) -> Chosen:
    """Return NAME=VALUE words as settings; a value is JSON where it can be."""
    properties = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            properties[name] = json.loads(value)
        except ValueError:
            properties[name] = value
    return Chosen(properties=properties)


def main() -> int:
    """Search, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goal", choices=("latency", "throughput"), default="latency")
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--setting", nargs="*", default=())
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    host = Host()
    host.processes.worker_python = sys.executable
    band = load_catalog().get(MODEL).canary
    text = band.text if band is not None else None
    subject = Subject("CPU", str(smollm2()[1]), BASE, MODEL, text=text)
    chosen = (
        parsed(given.setting)
        if given.setting
        else chosen_by_search(host, subject, given.goal, given.seconds)
    )
    rates: dict[str, list[float]] = {"default": [], "tuned": []}
    shares = []
    for number in range(given.rounds):
        turns = [("default", Chosen()), ("tuned", chosen)]
        for name, one in turns if number % 2 else reversed(turns):
            found, others = rate(host, subject, one, given.goal)
            rates[name].append(found)
            shares.append(others)
    ratio = paired.compare(rates["default"], rates["tuned"])
    busy = statistics.median(shares)
    found = {
        "goal": given.goal,
        "chosen": chosen.model_dump(),
        "rounds": given.rounds,
        "default tokens/s": spread(rates["default"]),
        "tuned tokens/s": spread(rates["tuned"]),
        "ratio": {name: round(getattr(ratio, name), 3) for name in ("median", "low", "high")},
        "others had": round(busy, 3),
    }
    print(json.dumps(found, indent=None if given.json else 2))
    return 0 if given.beside or busy <= OTHERS else 1


if __name__ == "__main__":
    sys.exit(main())
