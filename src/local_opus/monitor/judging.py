"""What a server's condition is, by what was seen of it: pure.

Only a server that runs and does not do its work is sick. One that loads, is being stopped, was
stopped, has failed for good, or is slow because it has work is not: to start it anew would help
nobody. An error of a device, growth and slowness are warnings.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_opus.monitor.sight import Condition, Seen

#: Decoding below this part of the baseline is told, after several canaries in a row.
SLOW = 0.5
#: Memory above this part of the limit is told.
NEAR = 0.95
#: Where no systemd says whether a server is loaded, it may load for so many seconds. It hashes its
#: weights before it answers anything: 40 GB take 22 minutes from a disk that reads 30 MB/s. systemd
#: itself ends a start that gets no further, and its watchdog one that hangs after it.
LOAD_SECONDS = 1800.0
_MIB = 1024 * 1024
#: Growth below so many bytes an hour is no news: allocators and caches settle.
GROWTH = 64 * _MIB
#: What a port that nobody holds says.
REFUSED = "connection refused"

#: States of a unit whose systemd does not answer: whether it has processes.
RUNNING, DEAD = "running", "dead"
#: systemd's ActiveState (systemctl(1)) of a unit that serves nobody now, and why that is.
_AT_REST = {
    "inactive": (Condition.STOPPED, "it was stopped"),
    "deactivating": (Condition.STOPPING, "it is being stopped"),
    "failed": (Condition.FAILED, "systemd gave it up"),
    "activating": (Condition.LOADING, "it is being started"),
    "reloading": (Condition.LOADING, "it is being started"),
    DEAD: (Condition.STOPPED, "none of its processes runs"),
    "maintenance": (Condition.STOPPED, "systemd is at work on it"),
}
#: What an engine's state in /health means; ``ready`` is all that is left.
_ENGINE = {
    "loading": Condition.LOADING,
    "restarting": Condition.LOADING,
    "failed": Condition.STOPPING,
    "stopped": Condition.STOPPING,
}


@dataclass(frozen=True)
class Verdict:
    """The condition, why, and what else should be known."""

    condition: Condition
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Before:
    """What earlier looks leave: the rates of the last canaries, the newest last, and restarts."""

    rates: tuple[float, ...] = ()
    engine_restarts: int | None = None
    #: Seconds since the server was started, where no systemd says whether it loads; None: it has
    #: answered since.
    age: float | None = None
    #: Whether it may listen elsewhere than where it was asked.
    elsewhere: bool = False


def at_rest(unit_state: str | None) -> bool:
    """Whether nothing may be asked: a connection would start a server that is not wanted.

    systemd holds the port of a socket-activated one, and starts it for whoever connects.
    """
    return unit_state in _AT_REST


def judge(seen: Seen, before: Before) -> Verdict:
    """Return the verdict on a server."""
    if seen.how == "systemd" and seen.unit_state in _AT_REST:
        condition, why = _AT_REST[seen.unit_state]
        reasons = list(seen.reasons)
        if condition is Condition.FAILED and seen.weights.problem is not None:
            reasons.append(seen.weights.problem)
        return Verdict(condition, (*(reasons or [why]),))
    if seen.how is None and seen.engine is None:
        return _nobody(seen)
    reasons = list(_troubles(seen))
    waiting = None if reasons else _not_yet(seen, before)
    if waiting is not None:
        return waiting
    if seen.health.problem is not None:
        reasons.insert(0, f"/health: {seen.health.problem}")
    condition = Condition.SICK if reasons else Condition.HEALTHY
    return Verdict(condition, tuple(reasons), tuple(_warnings(seen, before)))


def _nobody(seen: Seen) -> Verdict:
    """No server of this install runs; something may hold its port all the same."""
    if seen.health.problem != REFUSED:
        return Verdict(Condition.FOREIGN, (f"another program holds the port of {seen.url}",))
    return Verdict(Condition.STOPPED, ("it does not run",))


def _not_yet(seen: Seen, before: Before) -> Verdict | None:
    """Return the verdict on a server that can't answer yet, or no longer."""
    if seen.engine is not None and seen.engine.state in _ENGINE:
        why = f"the engine is {seen.engine.state}: {seen.engine.reason or 'it says no more'}"
        return Verdict(_ENGINE[seen.engine.state], (why,), tuple(_warnings(seen, before)))
    young = before.age is not None and before.age < LOAD_SECONDS
    silent = seen.health.problem is not None and seen.health.seconds is None
    if seen.unit_state == RUNNING and silent and young:
        # systemd holds the port while the server starts, so that a question waits.
        return Verdict(Condition.LOADING, ("it does not answer yet",))
    if seen.how == "detached" and seen.health.problem == REFUSED and young:
        return Verdict(Condition.LOADING, ("it does not listen yet",))
    if seen.how == "systemd" and before.elsewhere:
        # It may serve what its config said before an edit, or the last good settings.
        why = f"{seen.health.problem} at {seen.url}, and nothing tells where it listens"
        return Verdict(Condition.LOADING, (why,))
    return None


def _troubles(seen: Seen) -> list[str]:
    """Name what is wrong besides ``/health`` itself."""
    found = []
    engine = seen.engine
    if engine is not None and engine.overdue:
        found.append(
            f"the engine's loop has not turned for {engine.turn_age:.0f} s "
            f"(its limit is {engine.turn_limit:.0f} s)"
        )
    if seen.weights.problem is not None:
        found.append(seen.weights.problem)
    if seen.canary.problem is not None:
        found.append(f"canary: {seen.canary.problem}")
    return found


def _warnings(seen: Seen, before: Before) -> list[str]:
    found = []
    engine, memory = seen.engine, seen.memory
    if seen.health.locked:
        found.append("the server wants a key, and the monitor has none")
    if engine is not None and before.engine_restarts is not None:
        fresh = engine.restarts - before.engine_restarts
        if fresh > 0:
            why = f": {engine.reason}" if engine.reason else ""
            found.append(f"the engine was started anew {fresh} times since the last look{why}")
    if seen.baseline_tokens_per_second and len(before.rates) >= 3:  # noqa: PLR2004 - no single one
        rate = sorted(before.rates[-3:])[1]
        part = rate / seen.baseline_tokens_per_second
        if part < SLOW:
            found.append(
                f"slow: {rate:.1f} tokens/s, {part:.0%} of the install's "
                f"{seen.baseline_tokens_per_second:.1f}"
            )
    growth = memory.growth_bytes_per_hour
    if growth is not None and growth > GROWTH:
        found.append(f"memory grows by {growth / _MIB:.0f} MiB an hour")
    used = memory.own  # the kernel gives up files that it keeps before it refuses memory
    if used is not None and memory.limit_bytes and used > NEAR * memory.limit_bytes:
        found.append(f"memory: {used / memory.limit_bytes:.0%} of its limit is in use")
    if seen.weights.warning is not None:
        found.append(seen.weights.warning)
    found += [f"device error: {line}" for line in (*seen.devices.dumps, *seen.devices.kernel)]
    return found
