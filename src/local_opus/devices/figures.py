"""What a published figure is: a number, where it comes from, and how sure it is."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from local_opus.values import Device, Value


class Confidence(StrEnum):
    """How sure a figure is; the first is the surest."""

    #: The maker states it, or OpenVINO computes it from what the driver states.
    PUBLISHED = "published"
    PRESS = "press"
    #: Somebody says so: a leak, a shop, a forum.
    CLAIMED = "claimed"
    #: Deduced from figures of its relatives.
    INFERRED = "inferred"
    #: A formula over this machine's own facts: an upper bound.
    COMPUTED = "computed"


class Figure(Value):
    """One peak; its unit stands in the name of the field that holds it."""

    value: float = Field(gt=0)
    confidence: Confidence
    source: str = Field(description="one line")


class Published(Value):
    """The peaks of one device of a platform: upper bounds that no real model reaches.

    A figure is the largest of its family: a smaller model of a platform has less.
    """

    device: Device
    platform: str = Field(description="for a person, e.g. Meteor Lake-H")
    int8_tops: Figure | None = Field(default=None, description="10^12 operations/s; a MAC is two")
    fp16_tflops: Figure | None = Field(
        default=None, description="fp16 or bf16, whichever is faster, on its matrix engines"
    )
    fp32_tflops: Figure | None = None
    memory_gbs: Figure | None = Field(
        default=None, description="10^9 bytes/s; of the machine's memory where it has none itself"
    )

    @property
    def is_empty(self) -> bool:
        """Nothing is published."""
        return not (self.int8_tops or self.fp16_tflops or self.fp32_tflops or self.memory_gbs)
