"""What tuning measures on, and what a round of it came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from local_opus.values.tuning import Chosen, Goal

#: Of the answer whose time counts for latency: to a prompt of as many, see runtime.tune.
ANSWER_TOKENS = 128


@dataclass(frozen=True)
class Round:
    """One measured round. Times are seconds; ``after_first``: tokens after the first one."""

    seconds: float
    first_seconds: float
    tokens: int
    after_first: int

    @property
    def decode(self) -> float:
        """Tokens a second after the first; 0 where there was one alone."""
        left = self.seconds - self.first_seconds
        return self.after_first / left if left > 0 else 0.0

    def rate(self, goal: Goal) -> float:
        """Tokens a second of a whole answer of ANSWER_TOKENS, or of all requests together."""
        if goal == "throughput" or not self.decode:
            return self.tokens / max(self.seconds, 1e-9)
        return ANSWER_TOKENS / (self.first_seconds + (ANSWER_TOKENS - 1) / self.decode)


@dataclass(frozen=True)
class Loaded:
    """What loading came to: seconds and bytes."""

    seconds: float
    peak_bytes: int


class Running(Protocol):
    """One setting, loaded in a process of its own."""

    loaded: Loaded

    def measure(self, requests: int, tokens: int, *, timeout: float) -> Round:
        """Run one round. Raises LocalOpusError when the process fails."""
        ...

    def processor_seconds(self) -> float:
        """Return what this process has had of the processors; 0 where that is not told."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


class Bench(Protocol):
    """Where settings are measured. Each call takes ``timeout`` seconds at most."""

    def refusal(self, chosen: Chosen, *, timeout: float) -> str | None:
        """Say why the device can't have these settings; None: it can."""
        ...

    def load(self, chosen: Chosen, how: str | None, *, timeout: float) -> Running:
        """Load with these settings. Raises LocalOpusError."""
        ...

    def judge(self, chosen: Chosen, *, timeout: float) -> float | None:
        """Return the canary text's mean log-probability; None: there is no model to ask."""
        ...

    def machine_seconds(self) -> tuple[float, float] | None:
        """Return what all programs have had of the processors, and what there was; None: hidden."""
        ...


#: Told what is being tried, and the seconds that have passed.
Tell = Callable[[str, float], None]
