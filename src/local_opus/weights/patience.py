"""How long a download goes on against a server that fails, stalls or drips."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Times are seconds, rates bytes a second.

    The defaults give up two minutes after the last byte where the server answers with errors, five
    where it does not answer, and four seconds after it where there is no network: then a person is
    to be told.
    """

    #: Failures in a row without ``slow_rate`` bytes between them: a byte each time is no progress.
    #: Where half of all requests fail, and a try takes two, more are needed once in 8,000 times.
    attempts: int = 20
    attempts_unreachable: int = 4
    #: After so long without progress a few failures are enough.
    longest_silence: float = 300.0
    first_wait: float = 0.5
    longest_wait: float = 10.0
    #: A Retry-After above this ends the run: it continues when it is started again.
    longest_retry_after: float = 300.0
    #: No byte for so long ends a connection.
    stall: float = 30.0
    #: A connection that brings less than ``slow_rate`` for ``slow_window`` ends. The download does
    #: where all of them together bring less for so many windows in a row.
    slow_rate: int = 1024
    slow_window: float = 60.0
    slow_windows: int = 3

    def wait(self, failures: int, retry_after: float | None) -> float:
        """Return how long to wait after the given number of failures in a row.

        Exponential backoff with jitter, so that many clients of a failing server don't return at
        the same time; what the server asks for is waited out.
        """
        backoff = min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 16))
        jittered = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
        return max(jittered, retry_after or 0.0)


PATIENT = Patience()
_FEW = 4


class SlowError(Exception):
    """A connection brings next to nothing."""


class Tries:
    """The failures of one connection in a row, and its windows of too few bytes.

    ``received`` tells the bytes of all connections so far: what one lacks, others may bring. Time
    counts while it is asked or waited for bytes, over failures too.
    """

    def __init__(self, patience: Patience, received: Callable[[], int]) -> None:
        self._patience = patience
        self._received = received
        self.failures = 0
        self._slow = 0
        self._at_failure = received()
        self._progress = time.monotonic()
        self._since: float | None = None
        self._anew()

    def _anew(self) -> None:
        self._busy = 0.0
        self._bytes = 0
        self._at_window = self._received()

    def begin(self) -> None:
        """Start the clock: a request begins."""
        self._since = time.monotonic()

    def end(self) -> None:
        """Stop the clock: the request has ended, however."""
        if self._since is not None:
            self._busy += time.monotonic() - self._since
            self._since = None
        self._look()

    def add(self, count: int) -> None:
        """Count bytes. Raises SlowError at the end of a window with too few."""
        self._bytes += count
        if (rate := self._look()) is not None:
            raise SlowError(f"it brings {rate:.0f} bytes a second")

    def _look(self) -> float | None:
        """Return the rate of a window that is over, where it is too low."""
        now = time.monotonic()
        seconds = self._busy + (now - self._since if self._since is not None else 0.0)
        if seconds < self._patience.slow_window:
            return None
        least = self._patience.slow_rate * seconds
        brought, together = self._bytes, self._received() - self._at_window
        self._slow = self._slow + 1 if together < least else 0
        self._anew()
        self._since = now if self._since is not None else None
        return brought / seconds if brought < least else None

    def succeeded(self) -> None:
        """Note that a request brought all that it was to bring."""
        self.failures = 0
        self._progress = time.monotonic()

    def failed(self) -> None:
        """Note a failure."""
        self.failures += 1
        if self._received() - self._at_failure >= self._patience.slow_rate:
            self.failures = 1
            self._progress = time.monotonic()
        self._at_failure = self._received()

    def are_over(self, *, unreachable: bool) -> bool:
        """Whether there were enough; ``unreachable``: no connection came about."""
        patience = self._patience
        limit = patience.attempts_unreachable if unreachable else patience.attempts
        if time.monotonic() - self._progress > patience.longest_silence:
            limit = min(limit, _FEW)
        return self.failures >= limit or self._slow >= patience.slow_windows
