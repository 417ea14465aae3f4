"""The plan: an ordered list of actions."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus.values.base import Device, Scope, Value


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
    #: OpenVINO's name of the device: "GPU" alone means the first, often the integrated one.
    device_name: str | None = None
    #: Why the device and the model are these, where a user may expect others; one line each.
    reasons: tuple[str, ...] = ()
    actions: tuple[PlannedAction, ...]
