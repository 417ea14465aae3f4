"""The plan: an ordered list of actions."""

from __future__ import annotations

from pydantic import Field, JsonValue

from local_opus.values.base import Device, Scope, Value
from local_opus.values.fits import DiskFit, MemoryFit


class PlannedAction(Value):
    """One action of a plan: ``kind`` names its module, ``params`` are its plain data."""

    id: str
    kind: str
    summary: str
    params: dict[str, JsonValue]
    #: Undone as soon as it is done: a trial, which leaves nothing.
    transient: bool = False


class Plan(Value):
    """The ordered list of actions that takes this machine to a profile."""

    schema_version: int = 1
    profile: str
    scope: Scope
    root: str
    model: str | None
    device: Device | None
    device_name: str | None = Field(
        default=None,
        description="OpenVINO's name of the device, e.g. GPU.1; null: no model, or not told",
    )
    reasons: tuple[str, ...] = Field(
        default=(), description="why device and model are these, where a user may expect others"
    )
    memory: MemoryFit | None = Field(
        default=None, description="what serving the model takes; null: no model"
    )
    disk: DiskFit | None = Field(
        default=None, description="what comes onto the disk of the store; null: no model"
    )
    actions: tuple[PlannedAction, ...]
