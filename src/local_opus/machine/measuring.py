"""Measure what each item gains here, in turns with the machine as it is; see the package.

What is set for a measurement is journalled as what is set for good: a kill leaves the record, and
the next start of the unit, the next run or an uninstall takes it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from local_opus.devices import paired
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.machine import live, setting
from local_opus.machine.ways import Way, ways
from local_opus.tuning import Loaded, Round, Running, Tell, tuned, tuner
from local_opus.tuning.meter import OTHERS, BusyError, Meter, OutOfTimeError, rounded
from local_opus.tuning.search import VERIFY
from local_opus.tuning.workbench import Workbench
from local_opus.values.machine_tuning import (
    ITEMS,
    Item,
    Knob,
    MachineOrder,
    MachineTuned,
)
from local_opus.values.tuning import Chosen, Ratio, TuningOrder

_NO_TIME = "the time was up"
_TOLD_NOT_TO = "installed with --no-tune; `local-opus tune --machine` measures it"


class Under:
    """What was loaded, run each time with files of the kernel set; see ``tuning.Running``."""

    def __init__(
        self, running: Running, host: Host, locations: Locations, knobs: tuple[Knob, ...]
    ) -> None:
        self._running, self._host, self._locations, self._knobs = running, host, locations, knobs
        self.loaded: Loaded = running.loaded

    def measure(self, requests: int, tokens: int, *, timeout: float) -> Round:
        """Run one round with the files set, and put them back."""
        with setting.held(self._host, self._locations, self._knobs):
            return self._running.measure(requests, tokens, timeout=timeout)

    def processor_seconds(self) -> float:
        """Ask what was loaded."""
        return self._running.processor_seconds()

    def close(self) -> None:
        """End what was loaded."""
        self._running.close()


class MachineBench:
    """A workbench on which the machine itself is what changes; see ``tuning.Bench``."""

    def __init__(self, host: Host, locations: Locations, bench: Workbench) -> None:
        self._host, self._locations, self._bench = host, locations, bench

    def refusal(self, chosen: Chosen, *, timeout: float) -> str | None:  # noqa: ARG002 - no settings of OpenVINO's
        """No setting of OpenVINO's is tried."""
        return None

    def load(self, chosen: Chosen, how: str | None, *, timeout: float) -> Running:
        """Load the default; for a ``Way`` with what it sets."""
        if not isinstance(chosen, Way):
            return self._bench.load(chosen, how, timeout=timeout)
        with setting.held(self._host, self._locations, chosen.knobs):
            running = self._bench.load(chosen, how, timeout=timeout, process=chosen.process)
        return Under(running, self._host, self._locations, chosen.knobs)

    def judge(self, chosen: Chosen, *, timeout: float) -> float | None:  # noqa: ARG002 - answers stay
        """No item changes what is answered."""
        return None

    def machine_seconds(self) -> tuple[float, float] | None:
        """Ask the workbench."""
        return self._bench.machine_seconds()


def measure(
    host: Host,
    locations: Locations,
    order: MachineOrder,
    tell: Tell = lambda _what, _seconds: None,
) -> MachineTuned:
    """Return what each item gains; KeyboardInterrupt alone goes through.

    What is set now is taken back first, so that it is compared with the machine as it was.
    """
    begin = time.monotonic()
    setting.take_back(host, locations)
    if not order.measure:
        return nothing_chosen(host, order, _TOLD_NOT_TO, measured=False)
    tries, items = ways(host, order)
    subject = order.subject
    holds_for = subject.holds_for(None)
    noise, problem = None, None
    try:
        holds_for = subject.holds_for(tuner.weights_digest(host, subject))
        if tries:
            subject = _as_tuned(host, locations, subject, begin)
            found, noise = _compare(host, locations, subject, tries, tell)
            items += found
    except LocalOpusError as error:
        problem = error.message
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        problem = f"{where}{(error.strerror or str(error)).lower()}"
    if problem is not None:
        items += [_item(one, "not measured", problem) for one in tries]
    items += _decided_elsewhere(host, locations, order)
    return MachineTuned(
        measured_on=holds_for,
        items=tuple(sorted(items, key=lambda one: ITEMS.index(one.id))),
        noise=noise,
        seconds=round(time.monotonic() - begin, 1),
        at=host.now(),
        problem=problem,
    )


def nothing_chosen(
    host: Host, order: MachineOrder, why: str, *, measured: bool = True
) -> MachineTuned:
    """Return a result that has nothing set. Raises LocalOpusError and OSError."""
    cannot = {item.id: item for item in ways(host, order)[1]}
    return MachineTuned(
        measured_on=order.subject.holds_for(tuner.weights_digest(host, order.subject)),
        measured=measured,
        items=tuple(
            cannot.get(id_, Item(id=id_, decision="not measured", reason=why))
            for id_ in order.items
        ),
        seconds=0.0,
        at=host.now(),
    )


def _decided_elsewhere(host: Host, locations: Locations, order: MachineOrder) -> list[Item]:
    device = order.subject.device if order.server else None
    found = {"npu-turbo": live.npu_turbo, "device-access": live.device_access}
    return [found[id_](host, locations, device) for id_ in order.items if id_ in found]


def _as_tuned(host: Host, locations: Locations, subject: TuningOrder, begin: float) -> TuningOrder:
    """Return what is run, with the settings that tuning chose for it, and the seconds left."""
    left = subject.model_copy(
        update={"seconds": max(1, subject.seconds - int(time.monotonic() - begin))}
    )
    try:
        found = tuned.parse(host.files.read_text(locations.tuned), locations.tuned)
    except (LocalOpusError, OSError):  # then it runs with the defaults
        return left
    if found.tuned_for != subject.holds_for(tuner.weights_digest(host, subject)):
        return left
    base = tuned.effective(subject.base, found.base, found.chosen)
    return left.model_copy(update={"base": base})


def _compare(
    host: Host, locations: Locations, subject: TuningOrder, tries: list[Way], tell: Tell
) -> tuple[list[Item], float | None]:
    """Return the items that were tried, and the noise. Raises LocalOpusError for the default's."""
    tuner.require_memory(host, subject)
    with tuner.subject(host, subject) as what, Workbench(host, what) as bench:
        meter = Meter(
            MachineBench(host, locations, bench),
            goal=subject.goal,
            seconds=subject.seconds,
            clock=time.monotonic,
            tell=tell,
        )
        try:
            meter.start()
            items = [_try(host, meter, way) for way in tries]
        finally:
            meter.stop()
        return items, round(meter.noise, 4)


def _try(host: Host, meter: Meter, way: Way) -> Item:
    try:
        with _beside(host, way):
            return _gain(meter, way)
    except OutOfTimeError:
        return _item(way, "not measured", _NO_TIME)
    except LocalOpusError as error:
        meter.stop_if_ended()
        return _item(way, "not measured", error.message)


def _gain(meter: Meter, way: Way) -> Item:
    """Look, and where it seems to gain, verify in new processes. Raises LocalOpusError."""
    if meter.left < meter.cost(paired.FEWEST):
        return _item(way, "not measured", _NO_TIME)
    meter.say(way.id)
    ratio, _ = meter.against_default(way, None, paired.FEWEST)
    if ratio.median <= 1 + meter.noise:
        return _item(way, "no gain measured", _no_gain(ratio, meter.noise), ratio)
    pairs = min(VERIFY, meter.pairs_in(meter.left - meter.cost(0, loads=2)))
    if pairs < paired.FEWEST:
        return _item(way, "not measured", "gained at first; there was no time to verify it", ratio)
    meter.say(f"verify {way.id}")
    meter.stop()
    ratio, _ = meter.against_default(way, None, pairs)
    if way.beside is None and meter.others is not None and meter.others > OTHERS:
        return _item(way, "not measured", BusyError(meter.others).message, ratio)
    if not paired.is_better(ratio, meter.noise):
        return _item(way, "no gain measured", _no_gain(ratio, meter.noise), ratio)
    return _item(way, "chosen", f"a gain above the noise ({meter.noise:.1%})", ratio)


def _no_gain(ratio: Ratio, noise: float) -> str:
    return (
        f"{ratio.median:.2f} times as fast ({ratio.low:.2f}-{ratio.high:.2f}), "
        f"which is not surely above the noise of {noise:.1%}"
    )


def _item(way: Way, decision: str, reason: str, ratio: Ratio | None = None) -> Item:
    return Item.model_validate(
        {
            "id": way.id,
            "decision": decision,
            "reason": reason,
            "knobs": way.knobs,
            "unit": way.unit,
            "gain": None if ratio is None else rounded(ratio),
            "beside": way.beside,
        }
    )


@contextmanager
def _beside(host: Host, way: Way) -> Iterator[None]:
    """Keep every core busy, where an item is for a machine that others use too."""
    with ExitStack() as stack:
        if way.beside is not None:
            for _ in range(host.cores):
                busy = stack.enter_context(host.processes.dialogue("busy"))
                busy.ask({"op": "begin"}, timeout=30)
        yield
