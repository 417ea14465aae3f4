"""The weights: what is fetched and made, and where it lies."""

from __future__ import annotations

from local_opus.locations import Locations
from local_opus.planner.listing import Listing
from local_opus.planner.request import Request
from local_opus.values import Device, Model, Plan
from local_opus.weights.store import variant_names


def add_weights(todo: Listing, request: Request, model: Model) -> None:
    """Add what brings the weights."""
    data = model.model_dump(mode="json")
    device = request.device or Device.CPU
    todo.add(
        "weights",
        "fetch_weights",
        model=data,
        store=request.locations.models,
    )
    if model.format == "gguf":
        todo.add(
            "variant",
            "convert_weights",
            model=data,
            store=request.locations.models,
            device=device.value,
        )


def model_folder(locations: Locations, model: Model, device: Device) -> str:
    """Return the folder of the variant that the server loads."""
    return f"{locations.models}/{model.id}/{variant_name(model, device)}"


def variant_name(model: Model, device: Device) -> str:
    """Return the variant's name, e.g. cpu-q4_1: one format of the model for one device."""
    return variant_names(model, device).served


def source_folder(locations: Locations, model: Model) -> str:
    """Return the folder of the files as they were fetched."""
    return f"{locations.models}/{model.id}/{variant_names(model, Device.CPU).source}"


def with_license(former: Plan, license_id: str) -> Plan:
    """Return the plan whose fetch records that the user accepted this licence."""
    actions = (
        one.model_copy(update={"params": {**one.params, "license_accepted": license_id}})
        if one.kind == "fetch_weights"
        else one
        for one in former.actions
    )
    return former.model_copy(update={"actions": tuple(actions)})
