"""What is tuned by measurement."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus.locations import Locations
from local_opus.planner.listing import planned
from local_opus.planner.request import Request
from local_opus.values import PlannedAction
from local_opus.values.tuning import Tuned, TuningOrder


def tuning_action(
    locations: Locations, order: TuningOrder, group: str | None, result: Tuned | None = None
) -> PlannedAction:
    """Return the action that tunes, or that keeps what `tune` measured."""
    params: dict[str, JsonValue] = {
        "path": locations.tuned,
        "order": order.model_dump(mode="json"),
        "mode": 0o640 if group else 0o600,
        "group": group,
    }
    if result is not None:
        params["result"] = result.model_dump(mode="json")
    return planned("tuning", "tune_openvino", params)


def tuning_inputs(request: Request) -> str:
    """Return what a server is started anew for: it reads what was tuned when it starts."""
    if request.tuning is None:
        return ""
    order = request.tuning
    return order.model_dump_json(include={"goal", "device", "device_name", "driver", "openvino"})
