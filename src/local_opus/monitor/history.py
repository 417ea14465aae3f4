"""What the looks of an hour leave of a server: samples, counts, what was done.

No clock is read here, and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from local_opus.monitor.judging import Before
from local_opus.monitor.settings import Settings
from local_opus.monitor.sight import Canary, Condition, Seen
from local_opus.monitor.slope import slope
from local_opus.monitor.weights import Remembered
from local_opus.values import Value

#: Seconds that samples are kept, and how many at most: one every 5 s.
HOUR = 3600.0
MOST_SAMPLES = 720
#: Recoveries that are remembered one by one, and how many may be tried within an hour. systemd's
#: own limit, StartLimitBurst= in half an hour, ends a server earlier, so this one is well above it:
#: it holds where an admin has lifted that.
MOST_RECOVERIES = 20
RECOVERIES_PER_HOUR = 12
#: Growth is told from so many seconds on: what a server takes in its first minutes is no leak.
_LEAST_SECONDS = 600.0


class Sample(Value):
    """A look in short; ``uptime`` is the machine's, in seconds: setting a clock moves it not."""

    uptime: float
    pid: int | None = None
    condition: Condition
    first_token: float | None = None
    total: float | None = None
    rate: float | None = None
    memory: int | None = None
    in_flight: int | None = None


class Recovery(Value):
    """A server that was ended to be started anew, and why."""

    at: str
    uptime: float
    reasons: tuple[str, ...]


class Answered(Value):
    """Where a process of the server last answered as it should."""

    url: str
    pid: int | None = None


class Counts(Value):
    """Since the state was begun."""

    looks: int = 0
    sick: int = 0
    canaries: int = 0
    canaries_failed: int = 0
    device_errors: int = 0
    recoveries: int = 0


class History(Value):
    """One server's."""

    samples: tuple[Sample, ...] = Field(default=(), max_length=MOST_SAMPLES)
    counts: Counts = Counts()
    sick_in_a_row: int = 0
    #: Looks since the last canary.
    since_canary: int = 0
    recoveries: tuple[Recovery, ...] = Field(default=(), max_length=MOST_RECOVERIES)
    weights: Remembered | None = None
    #: Device errors that were counted already.
    device_errors: tuple[str, ...] = ()
    engine_restarts: int | None = None
    last: Seen | None = None
    #: The last canary that was answered.
    canary: Canary | None = None
    answered: Answered | None = None

    def has_answered(self, pid: int | None, url: str | None = None) -> bool:
        """Whether a process has answered, at one address or at any."""
        last = self.answered
        known = last is not None and pid is not None and last.pid == pid
        return known and (url is None or (last is not None and last.url == url))

    def rates(self) -> tuple[float, ...]:
        """Return tokens/s of the canaries of the process that runs, the newest last."""
        pid = self.samples[-1].pid if self.samples else None
        return tuple(one.rate for one in self.samples if one.rate is not None and one.pid == pid)

    def before(self, age: float | None, pid: int | None) -> Before:
        """Return what judging needs of earlier looks."""
        same = self.last is not None and self.last.pid == pid
        return Before(self.rates() if same else (), self.engine_restarts if same else None, age)

    def canary_is_due(self, settings: Settings) -> bool:
        """Whether this look is to ask a canary: the first one, then every so many."""
        never = self.counts.canaries + self.counts.canaries_failed == 0
        failing = self.last is not None and self.last.canary.problem is not None
        return never or failing or self.since_canary + 1 >= settings.canary_every


class State(Value):
    """All servers', and the form of the state file."""

    schema_version: Literal[1] = 1
    written_at: str
    uptime: float
    servers: dict[str, History] = Field(default_factory=dict)


def recent(samples: Sequence[Sample], uptime: float) -> tuple[Sample, ...]:
    """Return the samples of the last hour; those from before a boot lie in the future, and go."""
    kept = [one for one in samples if uptime - HOUR <= one.uptime <= uptime]
    return tuple(kept[-MOST_SAMPLES:])


def growth(samples: Sequence[Sample], now: Sample) -> float | None:
    """Return the bytes an hour by which the memory of the running process grows; None: too early.

    While it computes it takes more for a while, so samples without requests are preferred.
    """
    own = [one for one in (*samples, now) if one.pid == now.pid and one.memory is not None]
    idle = [one for one in own if not one.in_flight]
    taken = idle if len(idle) >= len(own) / 2 else own
    if not taken or taken[-1].uptime - taken[0].uptime < _LEAST_SECONDS:
        return None
    per_second = slope([(one.uptime, float(one.memory or 0)) for one in taken])
    return None if per_second is None else per_second * HOUR


def sample_of(seen: Seen, uptime: float) -> Sample:
    """Return a look in short."""
    return Sample(
        uptime=round(uptime, 1),
        pid=seen.pid,
        condition=seen.condition,
        first_token=seen.canary.first_token_seconds,
        total=seen.canary.total_seconds,
        rate=seen.canary.tokens_per_second,
        memory=seen.memory.own,
        in_flight=seen.engine.requests_in_flight if seen.engine is not None else None,
    )


def after(
    history: History, seen: Seen, weights: Remembered | None, uptime: float
) -> tuple[History, Seen]:
    """Return the history with a look added, and the look with what only the history tells."""
    counts = history.counts
    sick = seen.condition is Condition.SICK
    errors = (*seen.devices.dumps, *seen.devices.kernel)
    asked = seen.canary.skipped is None
    answered = asked and seen.canary.problem is None
    in_a_row = history.sick_in_a_row + 1 if sick else 0
    seen = seen.model_copy(
        update={"sick_in_a_row": in_a_row, "recoveries": history.counts.recoveries}
    )
    samples = (*recent(history.samples, uptime), sample_of(seen, uptime))[-MOST_SAMPLES:]
    counted = Counts(
        looks=counts.looks + 1,
        sick=counts.sick + sick,
        canaries=counts.canaries + answered,
        canaries_failed=counts.canaries_failed + (asked and not answered),
        device_errors=counts.device_errors + len(set(errors) - set(history.device_errors)),
        recoveries=counts.recoveries,
    )
    return History(
        samples=samples,
        counts=counted,
        sick_in_a_row=in_a_row,
        since_canary=0 if asked else history.since_canary + 1,
        recoveries=history.recoveries,
        weights=weights,
        device_errors=errors,
        engine_restarts=seen.engine.restarts if seen.engine is not None else None,
        last=seen,
        canary=seen.canary if answered else history.canary,
        answered=Answered(url=seen.url, pid=seen.pid) if _heard(seen) else history.answered,
    ), seen


def _heard(seen: Seen) -> bool:
    return seen.engine is not None or seen.health.locked


def recovery_due(history: History, settings: Settings, uptime: float) -> bool:
    """Whether the server is to be started anew now: sick for long enough, and not too often."""
    if history.sick_in_a_row < settings.sick_after or given_up(history, uptime):
        return False
    return history.last is not None and history.last.how == "systemd"


def given_up(history: History, uptime: float) -> bool:
    """Whether starting it anew did not help so often within an hour that it is left alone."""
    tried = [one for one in history.recoveries if 0 <= uptime - one.uptime <= HOUR]
    return len(tried) >= RECOVERIES_PER_HOUR


def recovered(history: History, at: str, uptime: float) -> History:
    """Return the history after a recovery was asked for: the next looks are counted anew."""
    reasons = history.last.reasons if history.last is not None else ()
    recovery = Recovery(at=at, uptime=round(uptime, 1), reasons=reasons)
    counts = history.counts.model_copy(update={"recoveries": history.counts.recoveries + 1})
    return history.model_copy(
        update={
            "sick_in_a_row": 0,
            "counts": counts,
            "recoveries": (*history.recoveries, recovery)[-MOST_RECOVERIES:],
        }
    )
