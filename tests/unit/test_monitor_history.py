"""What looks leave: samples of an hour, counts, growth, and when a server is started anew."""

from __future__ import annotations

import random

import pytest

from local_opus.monitor.history import (
    HOUR,
    MOST_SAMPLES,
    RECOVERIES_PER_HOUR,
    History,
    Sample,
    after,
    growth,
    recent,
    recovered,
    recovery_due,
)
from local_opus.monitor.settings import Settings
from local_opus.monitor.sight import Canary, Condition, Devices, Memory, Seen
from local_opus.monitor.slope import slope

MIB = 1024 * 1024
SEEN = Seen(server="system", url="http://127.0.0.1:8000", how="systemd", pid=7,
            condition=Condition.HEALTHY, canary=Canary(skipped="not in this look"))  # fmt: skip
SICK = SEEN.model_copy(update={"condition": Condition.SICK, "reasons": ("canary: x",)})
LOADING = SEEN.model_copy(update={"condition": Condition.LOADING})
SETTINGS = Settings(sick_after=3)


def looked(*looks: Seen, history: History | None = None, begin: float = 1000.0) -> History:
    history = history or History()
    for number, seen in enumerate(looks):
        history, _ = after(history, seen, None, begin + 30 * number)
    return history


@pytest.mark.parametrize(
    ("looks", "due"),
    [
        ((SICK, SICK), False),
        ((SICK, SICK, SICK), True),
        ((SICK, SICK, SEEN, SICK), False),
        ((SICK, SICK, LOADING, SICK), False),
        ((SEEN, SEEN, SEEN), False),
    ],
)
def test_sick_looks_in_a_row_start_it_anew(looks, due):
    assert recovery_due(looked(*looks), SETTINGS, 2000) is due


def test_a_detached_server_is_nobodys_to_start_anew():
    detached = SICK.model_copy(update={"how": "detached"})
    assert not recovery_due(looked(*[detached] * 9), SETTINGS, 2000)


def test_after_a_recovery_the_looks_are_counted_anew_and_why_is_kept():
    history = recovered(looked(SICK, SICK, SICK), "2026-01-01T00:00:00+00:00", 1100)
    assert not recovery_due(history, SETTINGS, 1100)
    assert history.recoveries[0].reasons == ("canary: x",)
    assert history.counts.recoveries == 1


def test_recoveries_that_do_not_help_come_to_an_end():
    history, uptime, tried = History(), 1000.0, 0
    for _ in range(100):
        history = looked(SICK, history=history, begin=uptime)
        if recovery_due(history, SETTINGS, uptime):
            history, tried = recovered(history, "then", uptime), tried + 1
        uptime += 30
    assert tried == RECOVERIES_PER_HOUR
    later = looked(SICK, history=history, begin=uptime + HOUR)
    assert recovery_due(later, SETTINGS, uptime + HOUR)


def test_samples_are_bounded_to_an_hour_and_a_number():
    samples = [Sample(uptime=second, condition=Condition.HEALTHY) for second in range(0, 9000, 2)]
    kept = recent(samples, 8998)
    assert len(kept) == MOST_SAMPLES
    assert kept[-1].uptime == 8998
    assert all(one.uptime >= 8998 - HOUR for one in kept)


def test_samples_from_before_a_boot_go():
    old = [Sample(uptime=90_000, condition=Condition.HEALTHY)]
    assert recent(old, 20) == ()


def test_a_device_error_is_counted_once_as_long_as_it_is_there():
    dump = SEEN.model_copy(update={"devices": Devices(dumps=("xe: devcd1",))})
    both = SEEN.model_copy(update={"devices": Devices(dumps=("xe: devcd1", "xe: devcd2"))})
    assert looked(dump, dump, both, SEEN).counts.device_errors == 2


def test_canaries_are_asked_at_first_then_every_so_many_looks():
    answered = SEEN.model_copy(update={"canary": Canary(tokens=16, tokens_per_second=5.0)})
    chosen = Settings(canary_every=3)
    history, asked = History(), []
    for number in range(8):
        due = history.canary_is_due(chosen)
        asked.append(due)
        history = looked(answered if due else SEEN, history=history, begin=1000 + 30 * number)
    assert asked == [True, False, False, True, False, False, True, False]


def test_a_canary_that_failed_is_asked_again_at_the_next_look():
    failed = SICK.model_copy(update={"canary": Canary(problem="no answer")})
    assert looked(failed).canary_is_due(Settings(canary_every=100))


def memory_samples(*values: float, step: float = 60, pid: int = 7, busy: int = 0) -> list[Sample]:
    return [Sample(uptime=number * step, pid=pid, condition=Condition.HEALTHY, memory=round(value),
                   in_flight=busy)
            for number, value in enumerate(values)]  # fmt: skip


def test_growth_is_that_of_most_samples_whatever_some_do():
    rng = random.Random(1)
    values = [500 * MIB + number * MIB + rng.randrange(MIB) for number in range(50)]
    for number in range(0, 50, 5):
        values[number] *= 4
    *samples, now = memory_samples(*values)
    assert growth(samples, now) == pytest.approx(60 * MIB, rel=0.1)


def test_no_growth_is_told_of_the_first_minutes_nor_of_another_process():
    *samples, now = memory_samples(1, 2, 3, 4)
    assert growth(samples, now) is None
    old = memory_samples(*range(0, 5000, 100), pid=6)
    assert growth(old, now) is None


def test_slope_needs_three_different_times():
    assert slope([(1, 1), (1, 2), (2, 2)]) is None
    assert slope([(0, 0), (1, 2), (2, 4)]) == 2
    assert slope([(number, 3 * number) for number in range(2000)]) == 3


def test_a_look_that_is_kept_tells_what_only_the_history_knows():
    history = recovered(looked(SICK), "then", 1010)
    _, seen = after(history, SICK, None, 1040)
    assert (seen.sick_in_a_row, seen.recoveries) == (1, 1)


def test_memory_of_the_unit_is_that_without_files():
    seen = SEEN.model_copy(update={"memory": Memory(rss_bytes=9, anonymous_bytes=5)})
    assert looked(seen).samples[0].memory == 5
