"""What ``doctor`` finds: answers of checks, and the chain from a PCI device to an inference."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from local_opus.values.base import Device, Value


class LinkState(StrEnum):
    """What is known of one link of a device's chain."""

    HOLDS = "holds"
    BROKEN = "broken"
    #: Nothing here tells; it may hold (a container that hides /lib/modules, say).
    UNKNOWN = "unknown"
    #: A link before it is broken.
    NOT_REACHED = "not reached"


class LinkName(StrEnum):
    """The links, from the hardware to the proof."""

    #: In place of all links up to the plugin: the CPU needs no driver.
    PROCESSOR = "processor"
    PCI = "PCI device"
    DRIVER = "kernel driver"
    FIRMWARE = "firmware"
    NODE = "device node"
    PERMISSION = "permission"
    LIBRARIES = "user-space driver"
    PLUGIN = "OpenVINO plugin"
    INFERENCE = "inference"


class Needs(StrEnum):
    """What must follow a fix before it works."""

    NOTHING = "nothing"
    NEW_LOGIN = "a new login"
    CONTAINER = "a new start of the container"
    REBOOT = "a reboot"


class Link(Value):
    """One link, and the evidence in one line."""

    name: LinkName
    state: LinkState
    evidence: str


class Fix(Value):
    """What to do, in the words of this distribution."""

    text: str = Field(description="one line")
    commands: tuple[str, ...] = Field(default=(), description="to be typed one after the other")
    needs: Needs = Needs.NOTHING


class DeviceChain(Value):
    """The chain of one device that could run inference, from PCI to a real inference."""

    device: Device
    name: str = Field(description="for a person, e.g. Intel Arc B580")
    pci_address: str | None = Field(description="null: the CPU")
    openvino_name: str | None = Field(description="e.g. GPU.1; null: OpenVINO does not list it")
    links: tuple[Link, ...]
    fix: Fix | None = Field(description="for the first broken link; null: none is broken")

    @property
    def broken(self) -> Link | None:
        """The first broken link."""
        return next((link for link in self.links if link.state is LinkState.BROKEN), None)


class TinyInference(Value):
    """A small matrix product that ran on a device, and whether it was right."""

    device: str = Field(description="what was asked for, in OpenVINO's words")
    ran_on: str | None = Field(description="EXECUTION_DEVICES; null: it did not run")
    right: bool = Field(description="the product lies within the precision's error")
    problem: str | None = Field(description="null: it ran, there, and was right")
    seconds: float


class CheckState(StrEnum):
    """The answer to one question of ``doctor``."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


class CheckResult(Value):
    """What one check found."""

    id: str = Field(description="e.g. weights, gpu-chain")
    title: str = Field(description="the question, for a person")
    group: str = Field(default="", description="what it is about, e.g. Devices, Model, Server")
    state: CheckState
    evidence: str = Field(description="one line")
    details: tuple[str, ...] = Field(default=(), description="more lines, for a person")
    fix: Fix | None = None
    fixable: bool = Field(default=False, description="``doctor --fix`` does it")
    seconds: float = 0.0


class Mended(Value):
    """One step of ``doctor --fix``."""

    lines: tuple[str, ...] = Field(description="what it does, a line each")
    checks: tuple[str, ...] = Field(description="ids of the checks that are asked again")
    done: bool = Field(description="false: it failed, or was only to be shown")
    problem: str | None = Field(default=None, description="null: it did not fail")
    remedy: str | None = Field(default=None, description="what to do about the problem")
