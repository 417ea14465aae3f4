"""What the tests of every operation share: run it into all its faults, hold the table to it."""

from __future__ import annotations

import os

import choosing
import pytest
import table
import worlds
from campaigns import Campaigns
from points import Kind


def meet(campaigns: Campaigns, operation: str) -> None:
    """Try the chosen faults of an operation; fail with what is wrong, or with an old table."""
    rows = table.rows()
    problems = []
    for variant in worlds.VARIANTS if choosing.EVERYTHING else (worlds.MAIN, worlds.DETACHED):
        for case in campaigns.cases(variant, operation):
            name = case["row"] if variant == worlds.MAIN else f"{case['row']} ({variant.name})"
            rows[name][Kind(case["kind"])][case["outcome"]] += 1
            problems += [f"{variant.name}: {operation}: {one}" for one in case["problems"]]
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
