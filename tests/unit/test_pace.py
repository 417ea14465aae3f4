"""The rate of what comes, and the time that the rest takes."""

from __future__ import annotations

import pytest

from local_opus.report.pace import WINDOW, Pace, duration_text


def paced(*seen: tuple[float, int]) -> Pace:
    times = iter([when for when, _ in seen])
    pace = Pace(lambda: next(times))
    for _, done in seen:
        pace.see(done)
    return pace


PACES = {
    "nothing": ([], None, None),
    "one look": ([(0, 5)], None, None),
    "too short": ([(0, 0), (0.5, 100)], None, None),
    "even": ([(0, 0), (2, 200)], 100.0, 8.0),
    "resumed": ([(0, 500), (2, 700)], 100.0, 3.0),
    "stalled": ([(0, 0), (2, 0)], 0.0, None),
    "begun anew": ([(0, 900), (1, 0), (3, 200)], 100.0, 8.0),
}


@pytest.mark.parametrize(("seen", "rate", "left"), PACES.values(), ids=PACES.keys())
def test_rate_and_time_left(seen, rate, left):
    pace = paced(*seen)
    assert (pace.rate, pace.seconds_left(1000)) == (rate, left)
    assert pace.seconds_left(None) is None


def test_what_is_long_ago_does_not_count():
    slow_then_fast = paced((0, 0), (10, 10), (10 + WINDOW, 810), (11 + WINDOW, 910))
    assert slow_then_fast.rate == pytest.approx(900 / (WINDOW + 1), rel=0.2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (125, "2:05"), (3723, "1:02:03")],
)
def test_durations_as_people_write_them(seconds, text):
    assert duration_text(seconds) == text
