"""What the tests of every operation share: run it into all its faults, hold the table to it."""

from __future__ import annotations

import os
from collections.abc import Callable

import choosing
import pytest
import table
import worlds
from cases import Campaign
from worlds import Variant

CampaignOf = Callable[[Variant], Campaign]


def meet(campaign_of: CampaignOf, operation: str) -> None:
    """Try the chosen faults of an operation; fail with what is wrong, or with an old table."""
    rows = table.rows()
    problems = []
    for variant in worlds.VARIANTS if choosing.EVERYTHING else (worlds.MAIN, worlds.DETACHED):
        campaign = campaign_of(variant)
        if operation not in campaign.points:
            continue
        tried = 0
        of = choosing.wanted(campaign, operation)
        for point, kind, finding in campaign.cases(operation, of):
            tried += 1
            name = choosing.kind_of(campaign, point.step)
            if variant != worlds.MAIN:
                name = f"{name} ({variant.name})"
            rows[name][kind][finding.outcome] += 1
            where = f"{variant.name}: {operation}: {kind} at {point.number} ({point.step}: {point.name})"  # fmt: skip
            problems += [f"{where}: {problem}" for problem in finding.problems]
        expected = sum(len(of(point)) for point in campaign.points[operation])
        assert tried == expected, f"{tried} of {expected} faults were met"
    assert not problems, _told(problems)
    _hold_table(operation, rows)


def _told(problems: list[str]) -> str:
    return "\n".join([f"{len(problems)} problems:", *problems[:40]])


def _hold_table(operation: str, rows: table.Rows) -> None:
    if choosing.EVERYTHING:
        return
    if os.geteuid() != 0:
        pytest.skip("the table holds for root, who may give files to others")
    text = table.render(operation, rows)
    if table.REGENERATE:
        table.write(operation, text)
    assert table.section(operation) == text, (
        f"docs/faults.md is old: REGENERATE_GOLDEN=1 tests/run {os.path.dirname(__file__)}"
    )
