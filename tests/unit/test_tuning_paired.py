"""The statistic: intervals of medians, noise, and how often it is fooled."""

from __future__ import annotations

import math
import random

import pytest

from local_opus.devices.paired import CONFIDENCE, FLOOR, compare, is_better, noise

ONES = [1.0] * 40


@pytest.mark.parametrize(
    ("count", "rank", "confidence"),
    # 1 - 2 P(Bin(n, 1/2) < k), from tables of the binomial distribution.
    [(1, 1, 0.0), (3, 1, 0.75), (5, 1, 0.9375), (6, 1, 0.9688), (8, 1, 0.9922), (9, 2, 0.9609),
     (12, 3, 0.9614), (20, 6, 0.9586)],
)  # fmt: skip
def test_the_interval_is_of_order_statistics(count, rank, confidence):
    rates = [float(number) for number in range(1, count + 1)]
    found = compare(ONES[:count], rates)
    assert (found.low, found.high) == (rates[rank - 1], rates[count - rank])
    assert found.confidence == pytest.approx(confidence, abs=1e-4)
    assert found.rounds == count


def test_pairs_are_compared_one_by_one():
    """Both get slower together; each pair says the same."""
    default = [100.0, 50.0, 25.0, 12.5, 6.0, 3.0]
    found = compare(default, [1.25 * rate for rate in default])
    assert (found.low, found.median, found.high) == (1.25, 1.25, 1.25)


def test_no_rounds_and_unequal_ones():
    with pytest.raises(ValueError, match="no rounds"):
        compare([], [])
    with pytest.raises(ValueError, match="argument"):
        compare([1.0], [1.0, 2.0])


def test_few_rounds_are_never_sure_enough():
    assert not is_better(compare(ONES[:5], [9.0] * 5), 0.03)
    assert is_better(compare(ONES[:6], [9.0] * 6), 0.03)


@pytest.mark.parametrize(("gain", "better"), [(1.02, False), (1.03, False), (1.05, True)])
def test_a_gain_must_be_above_the_noise(gain, better):
    assert is_better(compare(ONES[:9], [gain] * 9), 0.03) is better


def test_one_interrupted_round_of_nine_does_not_hide_a_gain():
    assert is_better(compare(ONES[:9], [1.2] * 8 + [0.1]), FLOOR)
    assert not is_better(compare(ONES[:9], [1.2] * 7 + [0.1] * 2), FLOOR)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [([], FLOOR), ([10.0], FLOOR), ([10.0] * 9, FLOOR), ([10.0, 20.0] * 5, math.exp(math.log(2) / 3) - 1)],
)  # fmt: skip
def test_noise_is_what_neighbouring_rounds_differ_by(rates, expected):
    assert noise(rates) == pytest.approx(expected)


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
def test_equal_settings_are_seldom_told_apart(spread):
    """Rounds that waver by ``spread``, a machine that drifts, outliers: 2000 verifications."""
    source = random.Random(7)
    wrong = 0
    for _ in range(2000):
        drift = 1.0
        rates: list[list[float]] = [[], []]
        for _ in range(12):
            drift *= math.exp(source.gauss(0, spread))
            for side in rates:
                slow = 3.0 if source.random() < 0.05 else 1.0
                side.append(50 * drift * math.exp(source.gauss(0, spread)) / slow)
        wrong += is_better(compare(*rates), noise(rates[0]))
    assert wrong / 2000 < 1 - CONFIDENCE


@pytest.mark.parametrize("gain", [1.15, 1.5])
def test_a_real_gain_is_found(gain):
    source = random.Random(3)
    found = 0
    for _ in range(200):
        default = [50 * math.exp(source.gauss(0, 0.03)) for _ in range(12)]
        other = [50 * gain * math.exp(source.gauss(0, 0.03)) for _ in range(12)]
        found += is_better(compare(default, other), noise(default))
    assert found > 190
