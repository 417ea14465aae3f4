"""What came of the rounds: a file of JSON lines that survives a kill, and its summary."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]


def append(path: Path, result: Result) -> None:
    """Write one round's line; it is on stable storage when this returns."""
    with path.open("ab+") as stream:
        _cut_torn_line(stream.fileno(), path)
        stream.write(json.dumps(result, separators=(",", ":")).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _cut_torn_line(descriptor: int, path: Path) -> None:
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        os.ftruncate(descriptor, data.rfind(b"\n") + 1)


def load(path: Path) -> list[Result]:
    """Return the results so far; a torn last line counts as never written."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def next_round(results: Iterable[Result], seed: int) -> int:
    """Return the number of the first round of this seed that has no result yet."""
    return max((int(one["round"]) for one in results if one["seed"] == seed), default=0) + 1


def kills(result: Result) -> int:
    """Return how many kills of a round hit a running program."""
    return sum(bool(step["killed"]) for step in result["steps"])


def totals(results: Sequence[Result]) -> dict[str, float]:
    """Return the figures of some rounds."""
    return {
        "rounds": len(results),
        "kills": sum(kills(one) for one in results),
        "too late": sum(not step["killed"] for one in results for step in one["steps"]),
        "converged": sum(bool(one["converged"]) for one in results),
        "fetched again": sum(int(one["fetched_again"]) for one in results),
        "orphans": sum(int(one["orphans"]) for one in results),
        "seconds": sum(float(one["seconds"]) for one in results),
    }


def table(results: Sequence[Result]) -> str:
    """Return the summary: a line a commit, where the kills hit, and the rounds that failed."""
    head = ("commit", "kills", "rounds", "converged", "bytes again", "orphans", "s a kill")
    rows = [head]
    commits = list(dict.fromkeys(str(one["commit"]) for one in results))
    groups = [(name, [one for one in results if one["commit"] == name]) for name in commits]
    for name, group in [*groups, *([("all", list(results))] if len(groups) > 1 else [])]:
        sums = totals(group)
        each = sums["seconds"] / sums["kills"] if sums["kills"] else 0.0
        figures = (sums[x] for x in ("kills", "rounds", "converged", "fetched again", "orphans"))
        rows.append((name, *(f"{value:.0f}" for value in figures), f"{each:.1f}"))
    return "\n".join([*_columns(rows), "", *_where(results), *_failures(results)])


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if number == 0 else text.rjust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _where(results: Sequence[Result]) -> list[str]:
    hits = Counter(
        (step["command"], step["hit"]) for one in results for step in one["steps"] if step["killed"]
    )
    manners = Counter(step["manner"] for one in results for step in one["steps"] if step["killed"])
    rows = [("last record at the kill", "install", "upgrade", "uninstall", "purge")]
    by_hit: dict[str, Counter[str]] = {}
    for (command, hit), count in hits.items():
        word = command.split()[0]
        what = word if word in rows[0] else "install"
        by_hit.setdefault(hit, Counter())[what] += count
    for hit, counts in sorted(by_hit.items(), key=lambda item: -sum(item[1].values())):
        rows.append((hit, *(str(counts[what] or "") for what in rows[0][1:])))
    shown = ", ".join(f"{name} {count}" for name, count in sorted(manners.items()))
    return [*_columns(rows), "", f"killed: {shown or 'nothing'}"]


def _failures(results: Sequence[Result]) -> list[str]:
    return [
        f"round {one['round']} of seed {one['seed']} at {one['commit']}: {problem}"
        for one in results
        for problem in one["problems"]
    ]


def is_clean(results: Sequence[Result]) -> bool:
    """Tell whether there are rounds, and all converged, fetched nothing again and left nothing."""
    return bool(results) and all(
        one["converged"] and not one["fetched_again"] and not one["orphans"] for one in results
    )
