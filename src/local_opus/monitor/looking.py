"""One look at every server of the node: ask, compare, judge, and add it to the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from local_opus import node
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.monitor import asking, baseline, device_errors, key, memory, targets, weights
from local_opus.monitor.history import HOUR, History, after, growth, recent, sample_of
from local_opus.monitor.judging import DEAD, REFUSED, RUNNING, at_rest, judge
from local_opus.monitor.settings import Settings
from local_opus.monitor.sight import Canary, Devices, Engine, Health, Look, Seen, Weights
from local_opus.monitor.targets import Target, Unit


@dataclass
class Monitor:
    """Looks, and remembers by the servers' names."""

    host: Host
    #: Where servers may be installed.
    places: tuple[Locations, ...]
    settings: Settings
    #: None: a single look.
    interval: float | None = None
    histories: dict[str, History] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _looked_at: float | None = None

    def look(self) -> Look:
        """Look at every server; raise LocalOpusError where there is none."""
        found = targets.find(self.host, self.places)
        if not found:
            raise LocalOpusError(
                "no server is installed on this node, as far as this user can see",
                "Run `local-opus install --local-opus` first.",
            )
        uptime = self.host.uptime()
        since = HOUR if self._looked_at is None else uptime - self._looked_at
        devices = device_errors.look(self.host, since)
        servers = tuple(self._see(target, devices, uptime) for target in found)
        self._looked_at = uptime
        notes, self.notes = tuple(self.notes), []
        return Look(
            at=self.host.now(), interval_seconds=self.interval, servers=servers, notes=notes
        )

    def _see(self, target: Target, devices: Devices, uptime: float) -> Seen:
        history = self.histories.get(target.name, History())
        unit = targets.unit_of(self.host, target.locations)
        seen, remembered = _seen(self.host, target, unit, history, self.settings, devices)
        age = _age(self.host, seen, history, uptime)
        rate, unread = _baseline(self.host, target)
        now = sample_of(seen, uptime)
        grown = growth(recent(history.samples, uptime), now)
        grown_memory = seen.memory.model_copy(update={"growth_bytes_per_hour": grown})
        seen = seen.model_copy(update={"memory": grown_memory, "baseline_tokens_per_second": rate})
        before = replace(history.before(age, seen.pid), elsewhere=_elsewhere(target, seen, history))
        verdict = judge(seen, before)
        told = {"config": target.problem, "baseline": unread}
        warned = (f"{what}: {why}" for what, why in told.items() if why is not None)
        seen = seen.model_copy(
            update={
                "condition": verdict.condition,
                "reasons": verdict.reasons,
                "warnings": (*verdict.warnings, *warned),
            }
        )
        self.histories[target.name], seen = after(history, seen, remembered, uptime)
        return seen


def _seen(
    host: Host,
    target: Target,
    unit: Unit | None,
    history: History,
    settings: Settings,
    devices: Devices,
) -> tuple[Seen, weights.Remembered | None]:
    """Return what is seen of a server, unjudged, and what to remember of its weights."""
    seen = Seen(
        server=target.name,
        url=target.url,
        model=target.model,
        device=target.device,
        devices=devices,
        unit=target.locations.unit if unit is not None else None,
        unit_state=unit.state if unit is not None else None,
        restarts=unit.restarts if unit is not None else None,
    )
    remembered = history.weights
    running = _running(host, target, unit)
    if running is not None:
        seen = seen.model_copy(update={"how": running.how, "pid": running.pid or None})
    elif unit is not None:
        seen = seen.model_copy(update={"how": "systemd"})
    if seen.how is not None and target.folder is None:
        seen = seen.model_copy(update={"weights": Weights(skipped=target.no_folder)})
    elif seen.how is not None and target.folder is not None:
        found, remembered = weights.check(host, target.folder, seen.pid, history.weights)
        seen = seen.model_copy(update={"weights": found})
    if unit is not None and at_rest(unit.state):
        words = _why_at_rest(unit, history)
        return seen.model_copy(update={"canary": Canary(skipped=unit.state), **words}), remembered
    return _asked(host, target, unit, history, settings, seen), remembered


def _baseline(host: Host, target: Target) -> tuple[float | None, str | None]:
    """Return the baseline's tokens/s, and what hinders to compare with it."""
    try:
        return baseline.read(host, target.locations, target.model), None
    except LocalOpusError as error:
        return None, f"{error.message}. {error.remedy}"


def _running(host: Host, target: Target, unit: Unit | None) -> node.Serving | None:
    if unit is not None and unit.state in {"active", RUNNING}:
        return node.Serving(unit.pid or 0, "systemd")
    if unit is not None and at_rest(unit.state) and unit.state not in {"inactive", DEAD}:
        return None
    return node.detached(host, target.locations)


def _why_at_rest(unit: Unit, history: History) -> Mapping[str, tuple[str, ...]]:
    """Say why systemd gave a server up: its word, and what the monitor saw last."""
    if unit.state != "failed":
        return {}
    words = [f"systemd gave it up ({unit.result or 'failed'})"]
    if history.recoveries:
        last = history.recoveries[-1]
        times = len(history.recoveries)
        words.append(
            f"the monitor had it started anew {times} times, last at {last.at}: "
            + "; ".join(last.reasons)
        )
    return {"reasons": tuple(words)}


def _asked(
    host: Host,
    target: Target,
    unit: Unit | None,
    history: History,
    settings: Settings,
    seen: Seen,
) -> Seen:
    target, health, engine, headers = _health(host, target, history, seen.pid)
    pids = [one for one in (seen.pid, engine.pid if engine is not None else None) if one]
    used = memory.look(host, pids if seen.how else [], unit.cgroup if unit is not None else None)
    said = {"url": target.url, "health": health, "engine": engine, "memory": used}
    seen = seen.model_copy(update=said)
    skipped = _no_canary(seen, history, settings)
    if skipped is not None:
        return seen.model_copy(update={"canary": Canary(skipped=skipped)})
    asked = asking.canary(target.address, target.port, settings.canary_seconds, headers)
    if asked.problem is None:
        return seen.model_copy(update={"canary": asked})
    return _meanwhile(host, target, headers, seen.model_copy(update={"canary": asked}))


def _health(
    host: Host, target: Target, history: History, pid: int | None
) -> tuple[Target, Health, Engine | None, asking.Headers]:
    """Ask ``/health`` where the server listens; return the answer and where that is.

    One that opens its port itself goes on with what it loaded after its config was edited, and
    after a start that failed with the last good settings: it is asked where it answered last, too.
    """
    health, engine, headers = _health_at(host, target)
    former = _former(target, history)
    if health.problem is None or former is None:
        return target, health, engine, headers
    there, its_engine, its_headers = _health_at(host, former)
    if there.problem is None or (health.problem == REFUSED and history.has_answered(pid)):
        return former, there, its_engine, its_headers
    return target, health, engine, headers


def _health_at(host: Host, target: Target) -> tuple[Health, Engine | None, asking.Headers]:
    headers: asking.Headers = {}
    health, engine = asking.health(target.address, target.port, headers)
    if health.locked and (headers := key.headers(host, target)):
        health, engine = asking.health(target.address, target.port, headers)
    return health, engine, headers


def _former(target: Target, history: History) -> Target | None:
    """Return where the server answered last, if that is another place; a socket stays the same."""
    if target.told_by == "socket" or history.answered is None:
        return None
    where = urlsplit(history.answered.url)
    if history.answered.url == target.url or not where.hostname or not where.port:
        return None
    return replace(target, address=where.hostname, port=where.port)


def _elsewhere(target: Target, seen: Seen, history: History) -> bool:
    """Whether the server may listen elsewhere than where it was asked.

    Nothing is known of this process but what a config says, which it need not have loaded.
    """
    if target.told_by == "socket" or seen.health.problem is None:
        return False
    if history.has_answered(seen.pid, seen.url):
        return False
    return target.told_by == "guess" or seen.health.problem == REFUSED


def _no_canary(seen: Seen, history: History, settings: Settings) -> str | None:
    """Say why no canary is asked in this look; None: it is."""
    if seen.health.locked:
        return "the server wants a key"
    if seen.health.problem is not None or seen.engine is None:
        return "the server does not answer"
    if seen.engine.state != "ready":
        return f"the engine is {seen.engine.state}"
    if seen.engine.requests_in_flight:
        return f"busy: {seen.engine.requests_in_flight} requests"
    if not history.canary_is_due(settings):
        return "not in this look"
    return None


def _meanwhile(host: Host, target: Target, headers: asking.Headers, seen: Seen) -> Seen:
    """Return a look whose canary failed with what became of the server meanwhile, to be judged.

    Slow for others' requests is not sick. One that was stopped while the canary was asked is not
    asked again: that would start it.
    """
    unit = targets.unit_of(host, target.locations)
    if unit is not None and at_rest(unit.state):
        now: dict[str, object] = {"unit_state": unit.state, "canary": Canary(skipped=unit.state)}
        return seen.model_copy(update=now)
    _, engine = asking.health(target.address, target.port, headers)
    if engine is None:
        return seen
    seen = seen.model_copy(update={"engine": engine})
    others = engine.requests_in_flight - 1  # the canary itself may still be in there
    if engine.state != "ready":
        skipped = f"the engine is {engine.state}"
    elif others > 0:
        skipped = f"busy: {others} requests"
    else:
        return seen
    return seen.model_copy(update={"canary": Canary(skipped=skipped)})


def _age(host: Host, seen: Seen, history: History, uptime: float) -> float | None:
    """Return the seconds that a server runs for, of which no systemd says whether it loads."""
    if seen.pid is None:
        return None
    if seen.unit_state == RUNNING:  # other users' processes are hidden from the monitor's unit
        if history.has_answered(seen.pid):
            return None
        met = [one for one in history.samples if one.pid == seen.pid]
        return uptime - met[0].uptime if met else 0.0
    if seen.how != "detached":
        return None
    started = node.started_at(host, seen.pid)
    return None if started is None else uptime - started
