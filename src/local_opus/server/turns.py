"""How long the engine may be silent: by what its steps were measured to take on this machine.

The engine's process can say nothing while it is inside of one step. How long a step may last
depends on the model, the device and what else runs: it is measured while the engine warms up, and
grows with what is seen afterwards.
"""

from __future__ import annotations

import time

from local_opus.runtime.engine_protocol import WarmUp

#: Times of what a whole step should take by the warm-up. The last steps of a prompt of 7,500 tokens
#: took 5 times that (attention grows with the context, and the warm-up has none), on 2 cores that
#: other programs used too; those may take the cores for three quarters of the time besides.
FACTOR = 20
#: Times of the longest turn that was seen.
GROWTH = 3
#: Seconds that a turn may take at least: a step whose weights were pushed out of memory reads them
#: again, and a machine may be held up for so long by what is none of the engine's doing.
FLOOR = 30.0
#: Seconds that a turn may take at most, whatever was seen.
CEILING = 900.0


class Turns:
    """The turns of one engine's loop. Times are seconds."""

    def __init__(self, floor: float = FLOOR, ceiling: float = CEILING) -> None:
        self._floor, self._ceiling = floor, ceiling
        self._expected = 0.0
        self._last = time.monotonic()
        self.longest = 0.0
        #: Signs of life so far; whoever feeds a watchdog looks whether there are new ones.
        self.count = 0

    def begin(self, warm_up: WarmUp) -> None:
        """Take what the warm-up of a new engine measured."""
        each = warm_up["prefill_seconds"] / max(1, warm_up["prefill_tokens"])
        self._expected = FACTOR * (each * warm_up["step_tokens"] + warm_up["decode_seconds"])
        self.longest = 0.0
        self.heard()

    def heard(self) -> None:
        """Count a sign of life; each is of a turn that has ended."""
        self._last = time.monotonic()
        self.count += 1

    def took(self, seconds: float) -> None:
        """Take the longest turn that the engine itself told of."""
        self.longest = max(self.longest, seconds)

    @property
    def age(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._last

    @property
    def limit(self) -> float:
        """Seconds after which a silent engine is taken for dead."""
        grown = max(self._expected, GROWTH * self.longest)
        return max(self._floor, min(self._ceiling, grown))
