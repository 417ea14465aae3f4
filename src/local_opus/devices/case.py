"""One device's case: the facts that its links are judged by."""

from __future__ import annotations

from dataclasses import dataclass

from local_opus.devices.matching import Match
from local_opus.devices.platforms import Platform, platform_of
from local_opus.values import (
    AcceleratorFacts,
    Device,
    DeviceFacts,
    Fix,
    HostFacts,
    Link,
    LinkName,
    LinkState,
    TinyInference,
)


@dataclass(frozen=True)
class Case:
    """An accelerator on the PCI bus, and what OpenVINO says."""

    facts: HostFacts
    item: AcceleratorFacts
    match: Match | None
    tiny: TinyInference | None
    #: The groups of the service's user, for whom it is judged; None: for this user.
    groups: frozenset[str] | None
    #: Another device of this kind that OpenVINO lists: it shows that their user space works.
    sibling: DeviceFacts | None = None

    @property
    def service(self) -> bool:
        """Whether it is judged for the service's user instead of for this one."""
        return self.groups is not None

    @property
    def listed(self) -> bool:
        """Whether OpenVINO, asked as this user, lists the device: then all before it holds."""
        return self.match is not None

    @property
    def works(self) -> bool:
        """Whether an inference was right on it."""
        return self.tiny is not None and self.tiny.right and self.tiny.problem is None

    @property
    def platform(self) -> Platform:
        """What this generation needs."""
        return platform_of(self.item)

    @property
    def title(self) -> str:
        """Its generation and kind, for a sentence."""
        generation = self.item.platform or self.platform.name
        return f"the {self.item.kind.value} of {generation}"

    @property
    def kernel(self) -> str:
        """The kernel, for a sentence."""
        return f"kernel {self.facts.os.kernel}" if self.facts.os.kernel else "this kernel"

    @property
    def on_kernel(self) -> str:
        """The kernel, for the end of a sentence; empty where nothing tells its release."""
        return f", {self.kernel}" if self.facts.os.kernel else ""

    @property
    def said(self) -> str | None:
        """OpenVINO's own words on why it does not list a device of this kind."""
        return self.facts.openvino.absent.get(self.item.kind.value)

    @property
    def asked_without_right(self) -> bool:
        """Whether OpenVINO was asked by a user who may not open the node, for one who may."""
        return self.service and not self.listed and is_denied(self.item)


@dataclass(frozen=True)
class Found:
    """The verdict on one link; ``fix`` also where it is unknown and may be the culprit."""

    state: LinkState
    evidence: str
    fix: Fix | None = None
    #: Unknown, and to be taken for broken where all else holds and OpenVINO lists nothing.
    likely: bool = False

    def link(self, name: LinkName) -> Link:
        """Return it as a link; its evidence is one line, whatever a driver said."""
        return Link(name=name, state=self.state, evidence=" ".join(self.evidence.split()))


def holds(evidence: str) -> Found:
    """Return that a link holds."""
    return Found(LinkState.HOLDS, evidence)


def broken(evidence: str, fix: Fix) -> Found:
    """Return that a link is broken."""
    return Found(LinkState.BROKEN, evidence, fix)


def unknown(evidence: str, fix: Fix | None = None, *, likely: bool = False) -> Found:
    """Return that nothing here tells; ``likely``: it is broken where nothing else is."""
    return Found(LinkState.UNKNOWN, evidence, fix, likely)


#: What opening a node says when the user (EACCES) or the container (EPERM) may not.
_DENIED = ("permission denied", "operation not permitted")


def is_denied(item: AcceleratorFacts) -> bool:
    """Say whether opening the node was refused for want of a right."""
    return item.node is not None and (item.node_problem or "").casefold() in _DENIED


def noun(kind: Device) -> str:
    """Return how the kernel's log calls a device's driver, as a pattern of grep -E."""
    return "intel_vpu|ivpu" if kind is Device.NPU else "i915|xe |guc"
