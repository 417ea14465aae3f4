"""What serving a model takes of a machine, part by part. Sizes are bytes."""

from __future__ import annotations

from pydantic import Field

from local_opus.values.base import Device, Value


class MemoryPart(Value):
    """One part of the memory: what it is for, and how it comes about, in a few words."""

    name: str = Field(description="weights, KV cache, buffers or programs")
    bytes: int = Field(ge=0)
    detail: str = Field(default="", description="e.g. '8 requests x 4,096 tokens'; may be empty")


class MemoryFit(Value):
    """The memory that serving takes at its peak, against what a device has.

    Counted is what the kernel can't take back: not the pages of the weights' file, which are read
    once and dropped when memory is short.
    """

    device: Device
    parts: tuple[MemoryPart, ...]
    bytes: int = Field(ge=0, description="of all parts")
    estimated: bool = Field(
        description="true: by rules, the model's dimensions or the device were not measured"
    )
    usable: int | None = Field(default=None, description="bytes; null: the machine is not known")
    whose: str = Field(
        default="", description="e.g. 'on the GPU' where its own memory counts; else empty"
    )

    @property
    def fits(self) -> bool:
        """Whether there is enough; also where nothing is known of the machine."""
        return self.usable is None or self.bytes <= self.usable


class DiskFit(Value):
    """What comes onto the disk of the store."""

    fetched: int = Field(ge=0, description="the original; 0: it is in the store")
    converted: int = Field(ge=0, description="what is made from it; 0: nothing, or it is there")
    margin: int = Field(ge=0, description="what a file system and the files beside them take")
    environment: int = Field(default=0, ge=0, description="where it comes onto the same disk")
    bytes: int = Field(ge=0, description="of all of these")
    free: int = Field(description="bytes")
    path: str = Field(description="a folder on that disk")

    @property
    def fits(self) -> bool:
        """Whether there is enough."""
        return self.bytes <= self.free
