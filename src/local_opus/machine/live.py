"""Items that others decide: the NPU's turbo, which tuning tries, and the accelerator's group.

Both are told as they are when they are asked for.
"""

from __future__ import annotations

from local_opus.devices.names import chooses, kind_of
from local_opus.errors import LocalOpusError
from local_opus.facts import accelerators
from local_opus.host import Host
from local_opus.locations import UNIT, Locations
from local_opus.tuning import tuned
from local_opus.values import AcceleratorFacts, Device, Scope
from local_opus.values.machine_tuning import Item
from local_opus.values.tuning import Tuned

_TURBO = "NPU_TURBO"
#: What a node's mode gives to all: reading and writing.
_OPEN_TO_ALL = 0o006


def npu_turbo(host: Host, locations: Locations, device: str | None) -> Item:
    """Say what tuning chose for the NPU's turbo. ``device``: of the server; None: there is none."""
    if (reason := _unserved(device, Device.NPU)) is not None:
        return Item(id="npu-turbo", decision="not applicable", reason=reason)
    found = _tuned(host, locations)
    if found is None:
        return Item(id="npu-turbo", decision="not measured", reason="OpenVINO was not tuned")
    if found.chosen.properties.get(_TURBO) is True:
        return Item(
            id="npu-turbo", decision="chosen", reason=f"{_TURBO}, in tuned.json", gain=found.gain
        )
    row = next((one for one in found.tried if _TURBO in one.properties), None)
    if row is None:
        return Item(
            id="npu-turbo", decision="not applicable", reason="the NPU's plugin has no NPU_TURBO"
        )
    measured = row.ratio is not None
    return Item(
        id="npu-turbo",
        decision="no gain measured" if measured else "not measured",
        reason=row.why,
        gain=row.ratio,
    )


def _tuned(host: Host, locations: Locations) -> Tuned | None:
    """Return what tuning chose; what can't be read is for its own check to tell."""
    try:
        return tuned.parse(host.files.read_text(locations.tuned), locations.tuned)
    except (LocalOpusError, OSError):
        return None


def device_access(host: Host, locations: Locations, device: str | None) -> Item:
    """Say whether the server gets at the nodes of the device that it serves on."""
    if (reason := _unserved(device, Device.GPU, Device.NPU)) is not None:
        return Item(id="device-access", decision="not applicable", reason=reason)
    kind = kind_of(device or "")
    nodes = [one for one in accelerators.parse(accelerators.read(host)) if one.kind is kind]
    if not nodes:
        return Item(
            id="device-access", decision="not applicable", reason=f"there is no {kind.value} here"
        )
    lines = [_access(host, locations, one) for one in nodes]
    open_ = [line for is_open, line in lines if is_open]
    return Item(
        id="device-access",
        decision="chosen" if open_ else "not measured",
        reason=open_[0] if open_ else lines[0][1],
    )


def _access(host: Host, locations: Locations, one: AcceleratorFacts) -> tuple[bool, str]:
    node = one.node
    if node is None:
        return False, f"{one.pci_address}: {one.node_problem}"
    if one.node_mode is not None and int(one.node_mode, 8) & _OPEN_TO_ALL == _OPEN_TO_ALL:
        return True, f"{node} is open to all"
    if locations.scope is Scope.SYSTEM and host.services.running(locations.scope):
        groups = host.services.property(locations.scope, UNIT, "SupplementaryGroups").split()
        if one.node_group in groups:
            return True, f"{node} is open to the group {one.node_group}, which {UNIT} has"
        return False, f"{node} is open to the group {one.node_group}, which {UNIT} lacks"
    return one.node_problem is None, f"{node}: {one.node_problem or 'open to this user'}"


def _unserved(device: str | None, *kinds: Device) -> str | None:
    """Say why an item of these devices does not arise; None: it does."""
    if device is None:
        return "no model is served"
    if chooses(device):
        return f"the model is served on {device}, which chooses by itself"
    kind = kind_of(device)
    return None if kind in kinds else f"the model is served on the {kind.value}"
