"""What one look sees of the servers: plain values, and the JSON line that is printed of them.

Times are seconds, sizes bytes, rates per second unless a name says otherwise. None: not known
here, or not there. ``docs/monitor.schema.json`` is made from these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from local_opus.values import Value


class Condition(StrEnum):
    """What a server is found to be; ``sick`` alone is a reason to start it anew."""

    HEALTHY = "healthy"
    LOADING = "loading"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    SICK = "sick"
    FOREIGN = "foreign"


class Health(Value):
    """The answer of ``/health``; ``problem``: what there was instead of a proper one."""

    seconds: float | None = None
    problem: str | None = None
    locked: bool = Field(default=False, description="it wants a key that the monitor has not")


class Engine(Value):
    """What ``/health`` says of the engine.

    ``turn_age``: since its loop last turned, ``turn_limit``: the longest that it may take.
    """

    state: str
    reason: str = ""
    pid: int | None = None
    restarts: int = 0
    requests_in_flight: int = 0
    turn_age: float | None = None
    turn_limit: float | None = None

    @property
    def overdue(self) -> bool:
        """Whether its loop hangs; while it loads it has none, and the server watches over that."""
        if self.state != "ready" or self.turn_age is None or self.turn_limit is None:
            return False
        return self.turn_age > self.turn_limit


class Canary(Value):
    """A short greedy question, asked over HTTP; ``skipped`` and ``problem`` say why not."""

    skipped: str | None = None
    problem: str | None = None
    tokens: int | None = None
    first_token_seconds: float | None = None
    total_seconds: float | None = None
    tokens_per_second: float | None = Field(
        default=None, description="tokens after the first, over the time since the first"
    )


class Memory(Value):
    """Of server and engine together. ``growth``: of the last hour, by a robust slope."""

    rss_bytes: int | None = None
    pss_bytes: int | None = Field(default=None, description="for root and the server's own user")
    current_bytes: int | None = Field(default=None, description="of the unit's cgroup, with caches")
    anonymous_bytes: int | None = Field(default=None, description="of the unit's cgroup")
    peak_bytes: int | None = None
    limit_bytes: int | None = None
    growth_bytes_per_hour: float | None = None

    @property
    def own(self) -> int | None:
        """What the server itself took: without the files that the kernel keeps for it."""
        return self.anonymous_bytes if self.anonymous_bytes is not None else self.rss_bytes


class Weights(Value):
    """Whether the files are those that were verified; ``skipped`` says why that is not known."""

    files: int | None = None
    problem: str | None = None
    warning: str | None = None
    skipped: str | None = None


class Devices(Value):
    """Errors that the drivers of GPU and NPU left: crash dumps, and lines of the kernel's log."""

    dumps: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    skipped: str | None = Field(default=None, description="why the kernel's log was not read")


class Seen(Value):
    """One server, as one look saw it."""

    server: str = Field(description="its name on this node: system, or user")
    url: str
    how: Literal["systemd", "detached"] | None = None
    unit: str | None = None
    unit_state: str | None = None
    pid: int | None = None
    restarts: int | None = Field(default=None, description="by systemd, since it was started")
    model: str | None = None
    device: str | None = None
    condition: Condition = Condition.STOPPED
    reasons: tuple[str, ...] = Field(default=(), description="why it is in that condition")
    warnings: tuple[str, ...] = ()
    sick_in_a_row: int = 0
    health: Health = Health()
    engine: Engine | None = None
    canary: Canary = Canary()
    baseline_tokens_per_second: float | None = Field(
        default=None, description="what the install measured; null: no baseline"
    )
    memory: Memory = Memory()
    weights: Weights = Weights()
    devices: Devices = Devices()
    recoveries: int = Field(default=0, description="how often the monitor had it started anew")


class Look(Value):
    """One look at the node: a JSON line."""

    schema_version: Literal[1] = 1
    at: str = Field(description="ISO 8601, UTC")
    interval_seconds: float | None = Field(default=None, description="null: a single look")
    servers: tuple[Seen, ...]
    notes: tuple[str, ...] = Field(default=(), description="what hinders the monitor itself")

    @property
    def well(self) -> bool:
        """Whether every server serves, or is about to."""
        return all(one.condition in {Condition.HEALTHY, Condition.LOADING} for one in self.servers)
