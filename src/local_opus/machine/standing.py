"""What stands now of the machine's settings: applied, drifted, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from pydantic import Field

from local_opus import sealed
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import TUNE_UNIT, UNIT, Locations
from local_opus.machine import decided, live, setting
from local_opus.machine.knobs import read, word
from local_opus.values import Value
from local_opus.values.machine_tuning import Item, MachineTuned, SetRecord, State
from local_opus.values.tuning import Ratio

#: systemd's properties of a unit for the directives of the drop-in, and how it shows values.
_SHOWN = {"LimitMEMLOCK": "LimitMEMLOCK", "Nice": "Nice", "CPUWeight": "CPUWeight"}


class FileNow(Value):
    """One file: the value before the install's measurement, the one to be set, and the one now."""

    path: str
    before: str
    wanted: str
    now: str | None


class Standing(Value):
    """One item now."""

    id: str
    state: State
    reason: str
    files: tuple[FileNow, ...] = ()
    unit: Mapping[str, str] = Field(default={})
    gain: Ratio | None = None
    beside: str | None = None


class Report(Value):
    """All items, or in ``problem`` why they can't be told; ``edited``: somebody changed the file.

    ``verdict`` and ``details`` say the same in words: how many stand how, and a line an item.
    """

    verdict: str
    details: tuple[str, ...] = ()
    items: tuple[Standing, ...] = ()
    problem: str | None = None
    edited: bool = False


def tuned(host: Host, locations: Locations) -> MachineTuned | None:
    """Return what was decided here; None: nothing was measured. Raises LocalOpusError, OSError."""
    if host.files.stat(locations.machine) is None:
        return None
    return decided.parse(host.files.read_text(locations.machine), locations.machine)


def report(host: Host, locations: Locations, device: str | None) -> Report | None:
    """Return what stands now; None: nothing of the machine is to be set here.

    ``device``: the one that the server runs on; None: there is no server. Raises PermissionError
    where machine.json is closed to this user.
    """
    try:
        found = tuned(host, locations)
        if found is None:
            return _unmeasured(host, locations)
        record = setting.record(host, locations)
        unit = _unit_now(host, locations, found)
        now = {
            "npu-turbo": live.npu_turbo(host, locations, device),
            "device-access": live.device_access(host, locations, device),
        }
        items = (now.get(one.id, one) for one in found.items)
        setter = _setter(host, locations)
        stand = tuple(_item(host, one, record, unit, setter) for one in items)
        return Report(
            verdict=_counted(stand),
            details=tuple(f"{one.id}: {one.state}: {one.reason}" for one in stand),
            items=stand,
            edited=sealed.is_edited(found),
            problem=found.problem,
        )
    except LocalOpusError as error:
        return untold(error.message)
    except PermissionError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return untold(f"{where}{(error.strerror or str(error)).lower()}")


def _counted(items: tuple[Standing, ...]) -> str:
    counts = {state: sum(one.state == state for one in items) for state in get_args(State)}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def untold(problem: str) -> Report:
    """Return a report that says why nothing can be told."""
    return Report(verdict=problem, problem=problem)


def _unmeasured(host: Host, locations: Locations) -> Report | None:
    """Say that the unit is there, and nothing was measured for it to set."""
    if host.files.stat(f"{locations.units}/{TUNE_UNIT}") is None:
        return None
    return untold("nothing was measured, so nothing is set: run `local-opus tune --machine`")


def _unit_now(host: Host, locations: Locations, found: MachineTuned) -> Mapping[str, str] | None:
    """Return the directives as the running unit has them; None: no systemd runs it here."""
    if not found.unit or not host.services.running(locations.scope):
        return None
    return host.services.properties(locations.scope, UNIT, *_SHOWN.values())


def _setter(host: Host, locations: Locations) -> str:
    """Say why what was chosen may not be set: who sets it, and whether that was done."""
    if not host.services.running(locations.scope):
        return "the start of the server sets it, as root"
    if host.services.property(locations.scope, TUNE_UNIT, "ActiveState") != "active":
        return f"{TUNE_UNIT} does not run"
    return f"{TUNE_UNIT} could not set it, and its log says why"


def _item(
    host: Host,
    item: Item,
    record: SetRecord | None,
    unit: Mapping[str, str] | None,
    setter: str,
) -> Standing:
    files = tuple(
        FileNow(
            path=one.path,
            before=word(one.before),
            wanted=one.wanted,
            now=None if (text := read(host, one.path)) is None else word(text),
        )
        for one in item.knobs
    )
    state: State
    if item.decision != "chosen":
        state, reason = item.decision, item.reason
    elif item.knobs:
        state, reason = _files_state(item, files, record, setter)
    else:
        state, reason = _unit_state(item, unit)
    return Standing(
        id=item.id,
        state=state,
        reason=reason,
        files=files,
        unit=item.unit,
        gain=item.gain,
        beside=item.beside,
    )


def _files_state(
    item: Item, files: tuple[FileNow, ...], record: SetRecord | None, setter: str
) -> tuple[State, str]:
    ours = {one.path: one for one in record.files} if record is not None else {}
    left = record.drifted if record is not None else {}
    for one in files:
        if one.path in ours and one.now not in {None, one.wanted, word(ours[one.path].before)}:
            return "drifted", f"{one.path}: {one.wanted} was set, and somebody set {one.now}"
        if one.path in left and one.now == left[one.path]:
            return "drifted", f"{one.path}: somebody had set {one.now}, so it was left so"
    if all(one.now in {one.wanted, None} for one in files):
        if any(one.path in ours for one in files):
            return "applied", decided.in_words(item)
        return "applied", "somebody else set it already"
    lacking = next(one for one in files if one.now != one.wanted)
    if lacking.path in ours:
        return "drifted", f"{lacking.path}: {lacking.wanted} was set, and it holds {lacking.now}"
    return "not applied", f"{lacking.path}: it holds {lacking.now}; {setter}"


def _unit_state(item: Item, unit: Mapping[str, str] | None) -> tuple[State, str]:
    if not item.unit:
        return "applied", decided.in_words(item)
    if unit is None:
        return "not applied", "no systemd runs the server here"
    for name, wanted in item.unit.items():
        now = unit[_SHOWN[name]]
        if now != wanted:
            return "drifted", f"{name}={now or 'not set'} in {UNIT}, and {wanted} was chosen"
    return "applied", decided.in_words(item)
