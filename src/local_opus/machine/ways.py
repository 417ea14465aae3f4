"""How each item is tried, and what is set where it gains."""

from __future__ import annotations

from pydantic import Field, JsonValue

from local_opus.host import Host
from local_opus.machine.knobs import READERS
from local_opus.values import Scope
from local_opus.values.machine_tuning import Item, ItemId, Knob, MachineOrder
from local_opus.values.tuning import Chosen

#: A fair scheduler gives three times the time to it (Linux kernel/sched/core.c,
#: sched_prio_to_weight: 3121 to 1024), and a control group with this weight the same.
NICE, WEIGHT = -5, 305
BESIDE = "a busy program on each core"


class Way(Chosen):
    """The default, and what of the machine or of its process is set while it runs."""

    id: ItemId
    knobs: tuple[Knob, ...] = ()
    #: What the worker is told to do to itself.
    process: dict[str, JsonValue] = Field(default={})
    unit: dict[str, str] = Field(default={})
    #: What is run besides; None: nothing.
    beside: str | None = None


def ways(host: Host, order: MachineOrder) -> tuple[list[Way], list[Item]]:
    """Return what can be tried here, and the items that can't, with the reason."""
    found: list[Way] = []
    left: list[Item] = []
    for id_ in order.items:
        way = _way(host, order, id_)
        if isinstance(way, str):
            left.append(Item(id=id_, decision="not applicable", reason=way))
        elif way is not None:
            found.append(way)
    return found, left


def _way(host: Host, order: MachineOrder, id_: ItemId) -> Way | str | None:
    """Return how an item is tried, or why it can't be; None: others decide it."""
    if id_ in {"npu-turbo", "device-access"}:
        return None
    if order.scope is not Scope.SYSTEM or host.euid != 0:
        return "needs root: install with --scope system"
    if id_ in READERS:
        if id_ == "npu-clock" and not order.subject.device.startswith("NPU"):
            return f"what is measured runs on the {order.subject.device}"
        knobs = READERS[id_](host)
        if isinstance(knobs, str):
            return knobs
        if not (order.systemd or order.server):
            return "no systemd runs here, and there is no server whose start could set it"
        return Way(id=id_, knobs=knobs)
    if not order.server:
        return "there is no server"
    if not order.systemd:
        return "it is of the server's unit, and no systemd runs here"
    if id_ == "memory-lock":
        return Way(id=id_, process={"lock_memory": True}, unit={"LimitMEMLOCK": "infinity"})
    unit = {"Nice": str(NICE), "CPUWeight": str(WEIGHT)}
    return Way(id=id_, process={"nice": NICE}, unit=unit, beside=BESIDE)
