"""How long a download goes on against a server that fails, stalls or drips."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest

from local_opus.weights import patience
from local_opus.weights.patience import Patience, SlowError, Tries


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still; ``now`` is in seconds."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


PATIENCE = Patience(
    attempts=3, attempts_unreachable=2, slow_rate=100, slow_window=10, slow_windows=2
)


def over(tries: Tries, *, unreachable: bool = False) -> bool:
    return tries.are_over(unreachable=unreachable)


@pytest.mark.parametrize(("unreachable", "failures"), [(False, 3), (True, 2)])
def test_failures_in_a_row_end_it(time, unreachable, failures):
    tries = Tries(PATIENCE, lambda: 0)
    for number in range(failures):
        assert not over(tries, unreachable=unreachable), number
        tries.failed()
    assert over(tries, unreachable=unreachable)


@pytest.mark.parametrize(("each", "ends"), [(0, True), (1, True), (99, True), (100, False)])
def test_a_drip_between_failures_is_no_progress(time, each, ends):
    received = 0
    tries = Tries(PATIENCE, lambda: received)
    for _ in range(4):
        received += each
        tries.failed()
    assert over(tries) is ends


def test_a_server_that_does_not_answer_is_asked_less_often(time):
    patient = Patience(attempts=20, longest_silence=300)
    tries = Tries(patient, lambda: 0)
    for number in range(11):
        assert not over(tries), number
        time.now += 30
        tries.failed()
    assert over(tries)


def test_after_a_long_silence_some_tries_are_left(time):
    """As of a machine that was asleep."""
    tries = Tries(Patience(), lambda: 0)
    time.now = 10_000
    for _ in range(3):
        tries.failed()
        assert not over(tries)


def test_what_other_connections_bring_is_progress(time):
    received = 0
    tries = Tries(PATIENCE, lambda: received)
    for _ in range(10):
        tries.failed()
        received += 1000
    assert not over(tries)


def test_a_request_that_succeeds_begins_the_row_anew(time):
    tries = Tries(PATIENCE, lambda: 0)
    for _ in range(5):
        tries.failed()
        tries.failed()
        tries.succeeded()
    tries.failed()
    assert not over(tries)


def test_a_slow_connection_ends_and_after_some_the_download(time):
    received = 0
    tries = Tries(PATIENCE, lambda: received)
    for window in range(2):
        assert not over(tries)
        tries.begin()
        for _ in range(9):
            time.now += 1
            received += 50
            tries.add(50)
        time.now += 1
        received += 50
        with pytest.raises(SlowError, match="it brings 50 bytes a second"):
            tries.add(50)
        tries.end()
        assert over(tries) is (window == 1)


def test_a_slow_connection_among_fast_ones_ends_alone(time):
    received = 0
    tries = Tries(PATIENCE, lambda: received)
    tries.begin()
    for _ in range(5):
        time.now += 11
        received += 5000
        with pytest.raises(SlowError):
            tries.add(1)
        assert not over(tries)


def test_windows_go_on_over_failures_and_stand_still_between_requests(time):
    """A server that breaks off before each window is over is as slow as it is."""
    received = 0
    tries = Tries(PATIENCE, lambda: received)
    for number in range(8):
        tries.begin()
        time.now += 3
        received += 100
        with suppress(SlowError):
            tries.add(100)
        tries.end()
        time.now += 1000  # until the next try
        assert over(tries) is (number == 7)


def test_the_wait_grows_to_a_bound_and_is_no_shorter_than_asked():
    patient = Patience()
    for failures in range(1, 2000):
        wait = patient.wait(failures, None)
        assert 0.25 <= wait <= 10
        assert wait >= 5 or failures < 6
    assert patient.wait(1, 100.0) == 100.0
