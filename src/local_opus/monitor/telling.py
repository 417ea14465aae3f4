"""What ``status`` and ``doctor`` say of the monitor: what it saw, and whether it looks at all."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.monitor import kept, settings
from local_opus.monitor.history import History, given_up
from local_opus.monitor.sight import Condition

#: Looks that may be missing before the monitor counts as not looking: one may take a minute.
_MISSED = 3
_SLACK = 120.0
_MINUTE = 60.0


@dataclass(frozen=True)
class Told:
    """What is known: ``verdict`` in one line, its ``details``, and the ``history`` behind it.

    ``overdue``: nobody has looked for long. ``closed``: this user may not read the state.
    ``problem``: what is wrong with its settings, without which it does not look.
    """

    verdict: str
    details: tuple[str, ...] = ()
    history: History | None = None
    condition: Condition | None = None
    overdue: bool = False
    closed: bool = False
    problem: str | None = None

    @property
    def ill(self) -> bool:
        """Whether the server was sick at the last look, or is given up."""
        return self.condition in {Condition.SICK, Condition.FAILED}


def look(host: Host, locations: Locations) -> Told | None:
    """Return what the monitor's unit keeps of an install's server; None: it has no monitor."""
    try:
        if host.files.stat(settings.path_of(locations)) is None:
            return None
        interval = settings.read(host, locations).interval_seconds
        state = kept.read(host, locations)
    except PermissionError:
        return Told("its state is root's to read", closed=True)
    except BadInputError as error:
        verdict = f"can't look: {error.message}"
        return Told(verdict, error.details, overdue=True, problem=error.message)
    if not host.services.running(locations.scope):
        return Told("no systemd runs here, which would look: `local-opus monitor` does")
    if state is None or locations.scope.value not in state.servers:
        return Told("has not looked yet", overdue=True)
    history = state.servers[locations.scope.value]
    since = host.uptime() - state.uptime
    overdue = since < 0 or since > _MISSED * interval + _SLACK
    last = history.last
    if last is None:
        return Told("has not looked yet", overdue=True)
    when = f"at {state.written_at}" if since < 0 else _ago(since)
    condition, details = last.condition, _details(history, host.uptime())
    if condition is Condition.STOPPED and (result := _given_up(host, locations)) is not None:
        # To the monitor's own user systemd may not say what it says to this one.
        condition, details[:0] = Condition.FAILED, [f"systemd gave it up ({result})"]
    words = [condition.value, f"looked {when}"]
    if overdue:
        words.append("and not since")
    return Told(", ".join(words), tuple(details), history, condition, overdue)


def _given_up(host: Host, locations: Locations) -> str | None:
    """Return systemd's word for why it starts the server no more; None: it does."""
    try:
        said = host.services.properties(locations.scope, locations.unit, "ActiveState", "Result")
    except LocalOpusError:
        return None
    return said["Result"] if said["ActiveState"] == "failed" else None


def _ago(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s ago"
    return f"{seconds / _MINUTE:.0f} min ago"


def _details(history: History, uptime: float) -> list[str]:
    last = history.last
    found = [*last.reasons, *(f"warning: {one}" for one in last.warnings)] if last else []
    if history.recoveries:
        recovery = history.recoveries[-1]
        times = history.counts.recoveries
        said = f"had the server started anew {times} times, last at {recovery.at}: " + "; ".join(
            recovery.reasons
        )
        if not any(recovery.at in line for line in found):
            found.append(said)
    if given_up(history, uptime):
        found.append("starting it anew did not help: the monitor leaves it alone for an hour")
    return found


def told(host: Host, locations: Locations) -> JsonValue:
    """Return the key of ``status``; None: there is no monitor."""
    found = look(host, locations)
    if found is None:
        return None
    return {
        "verdict": found.verdict,
        "details": [*found.details],
        "condition": found.condition.value if found.condition is not None else None,
        "overdue": found.overdue,
        "recoveries": found.history.counts.recoveries if found.history is not None else None,
    }
