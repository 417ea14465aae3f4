"""How long a download goes on against a server that fails, stalls or drips."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Times are seconds, rates bytes a second.

    The defaults give up two minutes after the last byte where the server answers with errors, and
    four seconds after it where there is no network: then a person is to be told.
    """

    #: Failures in a row without a byte between them.
    attempts: int = 10
    attempts_unreachable: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0
    #: A Retry-After above this ends the run: it continues when it is started again.
    longest_retry_after: float = 300.0
    #: No byte for so long ends a connection.
    stall: float = 30.0
    #: A connection that brings less than ``slow_rate`` for ``slow_window`` ends, and with the
    #: third in a row the download does.
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
