"""How fast something comes, and how long the rest will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

#: Seconds over which a rate is taken: short enough to follow a line, long enough to be readable.
WINDOW = 8.0
#: Seconds before a rate is told: a first burst says little.
_SETTLED = 1.0
_MINUTE, _HOUR = 60, 3600


class Pace:
    """Follows one count, bytes say; a count that falls begins anew."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, done: int) -> None:
        """Note how far it has come."""
        now = self._clock()
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW:  # noqa: PLR2004 - a span
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second over the last WINDOW; None until there is something to tell."""
        if not self._seen:
            return None
        (begin, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - begin) if end - begin >= _SETTLED else None

    def seconds_left(self, total: int | None) -> float | None:
        """Return how long the rest takes at this rate; None where that is not known."""
        rate = self.rate
        if not rate or total is None:
            return None
        return max(0, total - self._seen[-1][1]) / rate


def duration_text(seconds: float) -> str:
    """Return a duration as people write it: 8 s, 2:05, 1:02:03."""
    whole = int(seconds + 0.5)
    if whole < _MINUTE:
        return f"{whole} s"
    hours, rest = divmod(whole, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
