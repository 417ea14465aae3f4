"""The machine's own settings: what is measured, and the unit that sets what gains."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus.locations import TUNE_UNIT, Locations
from local_opus.planner.environment import LOCKS, lock_of
from local_opus.planner.listing import planned
from local_opus.planner.request import Request
from local_opus.planner.units import Unit
from local_opus.profiles import MachineTable
from local_opus.values import PlannedAction, Scope
from local_opus.values.machine_tuning import ITEMS, ItemId, MachineOrder, MachineTuned

#: The key of a profile's table that asks for each item; the accelerator's group is always told.
_KEYS: dict[ItemId, str] = {
    "governor": "governor",
    "huge-pages": "huge_pages",
    "npu-clock": "npu_turbo",
    "npu-turbo": "npu_turbo",
    "memory-lock": "memory_lock",
    "scheduling": "scheduling",
}


def items_of(table: MachineTable) -> tuple[ItemId, ...]:
    """Return the items that a profile asks for."""
    return tuple(id_ for id_ in ITEMS if id_ not in _KEYS or getattr(table, _KEYS[id_]))


def machine_action(
    locations: Locations, order: MachineOrder, group: str | None, result: MachineTuned | None = None
) -> PlannedAction:
    """Return the action that measures, or that keeps what `tune --machine` measured."""
    params: dict[str, JsonValue] = {
        "path": locations.machine,
        "drop_in": locations.machine_drop_in,
        "order": order.model_dump(mode="json"),
        "mode": 0o640 if group else 0o600,
        "group": group,
    }
    if result is not None:
        params["result"] = result.model_dump(mode="json")
    return planned("machine", "tune_machine", params)


def units(request: Request, environment: str) -> tuple[Unit, ...]:
    """Return the unit that sets what was chosen: files of the kernel are root's alone."""
    places = request.locations
    measures = request.profile.machine.enabled and lock_of(request.profile) != LOCKS["base"]
    if not measures or places.scope is not Scope.SYSTEM:
        return ()
    values = {
        "python": f"{environment}/bin/python",
        "runtime": places.machine_record.split("/")[-2],
        "npus": request.npus,
    }
    return (Unit(TUNE_UNIT, values),)


def machine_inputs(request: Request) -> list[str]:
    """Return what the units are started anew for: they read what was measured when they start."""
    if request.machine is None:
        return []
    return [request.machine.model_dump_json(exclude={"seconds": True, "subject": {"seconds"}})]
