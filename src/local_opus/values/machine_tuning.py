"""What of the machine itself is tuned: the items, what was measured of each, and what was set."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from local_opus.values.base import Scope, Sha256, Value
from local_opus.values.tuning import Ratio, TunedFor, TuningOrder

#: What can be tuned, in the order in which it is measured and told.
ItemId = Literal[
    "governor", "huge-pages", "npu-clock", "npu-turbo", "memory-lock", "scheduling", "device-access"
]
ITEMS: tuple[ItemId, ...] = get_args(ItemId)

#: What an install decided of an item.
Decision = Literal["chosen", "no gain measured", "not applicable", "not measured"]
#: What stands of an item now. ``not applied``: chosen, and nothing has set it, or it was refused.
State = Literal[
    "applied", "not applied", "drifted", "no gain measured", "not applicable", "not measured"
]


class Knob(Value):
    """One file of the kernel's: what it held, and the word to write."""

    path: str
    before: str = Field(description="all that the file held")
    wanted: str = Field(description="the word to write")


class Item(Value):
    """One item, as an install or `tune --machine` decided it."""

    id: ItemId
    decision: Decision
    reason: str = Field(description="why; one line")
    knobs: tuple[Knob, ...] = ()
    unit: dict[str, str] = Field(default={}, description="directives of the server's unit")
    gain: Ratio | None = Field(
        default=None, description="how many times as fast with it; null: it was not measured"
    )
    beside: str | None = Field(
        default=None, description="what ran beside while it was measured; null: nothing of ours"
    )


class MachineTuned(Value):
    """``machine.json``: each item, what it was before, what it gained, and what was chosen."""

    schema_version: Literal[1] = 1
    measured_on: TunedFor
    measured: bool = Field(default=True, description="false: an install was told not to measure")
    items: tuple[Item, ...]
    noise: float | None = Field(default=None, description="a gain must be above it; 0.03 is 3 %")
    seconds: float
    at: str = Field(description="when, ISO 8601 in UTC")
    problem: str | None = Field(default=None, description="why nothing could be measured")
    sum: Sha256 | None = Field(
        default=None, description="of all the rest; another one: edited since it was written"
    )

    def item(self, id_: ItemId) -> Item | None:
        """Return an item; None: it was not asked for."""
        return next((one for one in self.items if one.id == id_), None)

    @property
    def chosen(self) -> tuple[Item, ...]:
        """The items that are to be set."""
        return tuple(one for one in self.items if one.decision == "chosen")

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """The files that are to be set, in their order."""
        return tuple(knob for one in self.chosen for knob in one.knobs)

    @property
    def unit(self) -> dict[str, str]:
        """The directives that the server's unit is to have."""
        return {name: word for one in self.chosen for name, word in one.unit.items()}


class MachineOrder(Value):
    """What is to be measured, and on what: plain data for a plan and its receipt."""

    items: tuple[ItemId, ...]
    scope: Scope
    seconds: int = Field(ge=1, le=600, description="of all of it, at most")
    subject: TuningOrder = Field(description="what is run meanwhile; its settings are not tried")
    server: bool = Field(description="whether a server's unit is part of the install")
    systemd: bool = Field(description="whether systemd runs the server")
    measure: bool = Field(default=True, description="false: nothing is measured, so nothing is set")


class SetFile(Value):
    """One file that was set: what it held before, and the word that was written."""

    path: str
    before: str
    wanted: str


class SetRecord(Value):
    """What is set now, written before it is: the way back, whatever is killed."""

    schema_version: Literal[1] = 1
    boot_id: str = Field(description="of the kernel that it was set in; with another it is void")
    by: Literal["unit", "server", "measuring"]
    files: tuple[SetFile, ...]
    drifted: dict[str, str] = Field(
        default={}, description="files that were left when this was taken back: what they held"
    )
