"""How fast something grows, whatever single values do: pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

#: Points that are compared, each with each: 7140 slopes, a few milliseconds.
_MOST = 120


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return the Theil-Sen slope of (x, y) points: the median of the slopes between any two.

    Up to 29 % of the points may be anything. None: fewer than three with different x.
    """
    step = max(1, -(-len(points) // _MOST))
    taken = points[::step]
    if len({x for x, _ in taken}) < 3:  # noqa: PLR2004 - two points have no noise to tell from
        return None
    return median(
        (later - earlier) / (end - begin)
        for index, (begin, earlier) in enumerate(taken)
        for end, later in taken[index + 1 :]
        if end != begin
    )
