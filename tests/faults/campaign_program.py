"""The program in which campaigns run: asked on its standard input, it answers on its output.

    python campaign_program.py FOLDER

A campaign forks for every fault and every way on, and a fork costs what its parent holds. A process
of tests holds all that tests ever import; this one holds what the campaigns need.

A question is a line of JSON: the number of a variant, and an operation or null. The answers are
lines, too: with an operation one for each fault, as it is met; the last one is ``prepared``. It
ends with its input, or when nobody reads its answers.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import choosing
import worlds
from cases import Campaign

from local_opus.weights import verify


class OneThread:
    """Judges files one after the other: a fork has no threads, and to start some takes it long."""

    def __init__(self, _workers: int) -> None:
        self.map = map

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


def main(folder: Path) -> None:
    """Answer until nobody asks any more."""
    # What a fork of a run says must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    "".encode("cp437")  # of zipfile: imported here, and not in every fork
    verify.ThreadPoolExecutor = OneThread  # type: ignore[misc,assignment]
    made: dict[int, Campaign] = {}
    for line in sys.stdin:
        number, operation = json.loads(line)
        for answer in _answers(folder, made, number, operation):
            answers.write(f"{json.dumps(answer)}\n")


def _answers(
    folder: Path, made: dict[int, Campaign], number: int, operation: str | None
) -> Iterator[dict[str, Any]]:
    try:
        if number not in made:
            made[number] = _prepared(folder / str(number), number)
        campaign = made[number]
        if operation in campaign.points:
            yield from _cases(campaign, operation)
        points = {name: len(points) for name, points in campaign.points.items()}
        yield {"prepared": {"states": sorted(campaign.states), "points": points}}
    except Exception:  # noqa: BLE001 - who asked fails with it
        yield {"failed": traceback.format_exc()}


def _prepared(folder: Path, number: int) -> Campaign:
    folder.mkdir()
    campaign = Campaign(worlds.VARIANTS[number], folder)
    campaign.prepare()
    gc.collect()
    gc.freeze()  # what is here now is shared with every fork
    return campaign


def _cases(campaign: Campaign, operation: str) -> Iterator[dict[str, Any]]:
    wanted = choosing.wanted(campaign, operation)
    tried = 0
    for point, kind, finding in campaign.cases(operation, wanted):
        tried += 1
        where = f"{kind} at {point.number} ({point.step}: {point.name})"
        yield {
            "row": choosing.kind_of(campaign, point.step),
            "kind": kind,
            "outcome": finding.outcome,
            "problems": [f"{where}: {problem}" for problem in finding.problems],
        }
    expected = sum(len(wanted(point)) for point in campaign.points[operation])
    if tried != expected:
        raise AssertionError(f"{tried} of {expected} faults were met")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
