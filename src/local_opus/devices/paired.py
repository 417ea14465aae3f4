"""Is one setting faster than another, or is it the noise? Paired rounds, and no assumptions. Pure.

Two settings are measured in turns, so that what slows the machine for a while slows both; each pair
of rounds gives one ratio. The median of the ratios gets an interval from the order statistics of
the binomial distribution: whatever the ratios' distribution is like, the true median lies between
the k-th smallest and the k-th largest with probability 1 - 2 P(Bin(n, 1/2) < k). A setting is
better when the interval's lower end lies above 1 + noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import comb, exp, log, sqrt
from statistics import median

from local_opus.values.tuning import Ratio

#: How sure the interval is at least.
CONFIDENCE = 0.95
#: With fewer pairs even the interval from the smallest to the largest is less sure (1 - 2/2^5).
FEWEST = 6
#: Two processes of the same setting differ by so much for good: their memory lies elsewhere.
FLOOR = 0.03


def compare(default: Sequence[float], other: Sequence[float]) -> Ratio:
    """Return how many times as fast ``other`` is; both are rates, pair by pair.

    With fewer than FEWEST pairs the interval is from the smallest to the largest ratio, and its
    ``confidence`` says how little that is. Raises ValueError where the pairs are none.
    """
    ratios = sorted(b / a for a, b in zip(default, other, strict=True))
    if not ratios:
        raise ValueError("no rounds")
    count = len(ratios)
    rank = 1
    while rank < (count + 1) // 2 and _sure(count, rank + 1) >= CONFIDENCE:
        rank += 1
    return Ratio(
        median=median(ratios),
        low=ratios[rank - 1],
        high=ratios[count - rank],
        rounds=count,
        confidence=round(_sure(count, rank), 4),
    )


def _sure(count: int, rank: int) -> float:
    """Return the probability that the median lies within the rank-th smallest and largest."""
    tail = sum(comb(count, i) for i in range(rank))
    return max(0.0, 1.0 - 2 * tail / float(2**count))


def noise(default: Sequence[float]) -> float:
    """Return the gain that the noise alone may show: 0.03 is 3 %.

    What neighbouring rounds of the default differ by as a rule, over the square root of their
    number (so much the median of them wavers), and FLOOR at least.
    """
    steps = [abs(log(b / a)) for a, b in pairwise(default)]
    if not steps:
        return FLOOR
    return max(FLOOR, exp(median(steps) / sqrt(len(steps))) - 1)


def is_better(ratio: Ratio, above: float) -> bool:
    """Whether a ratio is a gain above the noise, and sure enough."""
    return ratio.confidence >= CONFIDENCE and ratio.low > 1 + above
