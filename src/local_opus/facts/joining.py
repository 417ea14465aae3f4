"""What OpenVINO says of a device, where sysfs and the table of PCI ids do not tell it."""

from __future__ import annotations

import re

from local_opus.devices.matching import is_foreign, kind_of, pci_id
from local_opus.values import AcceleratorFacts, Device, DeviceFacts, OpenVinoFacts

#: DEVICE_ARCHITECTURE of a GPU, e.g. ``GPU: vendor=0x8086 arch=v12.71.4``.
_ARCHITECTURE = re.compile(r"vendor=0x8086 arch=v([0-9.]+)", re.ASCII)
_TYPES = {"Type.INTEGRATED": True, "Type.DISCRETE": False}


def join(
    accelerators: tuple[AcceleratorFacts, ...], openvino: OpenVinoFacts
) -> tuple[AcceleratorFacts, ...]:
    """Return the accelerators with architecture and kind of GPU filled in, where still unknown.

    Only where it is certain which of OpenVINO's devices an accelerator is: by the PCI id in its
    DEVICE_UUID (equal cards share one, and then agree), or as the only one of its kind on both
    sides.
    """
    return tuple(_joined(item, accelerators, openvino) for item in accelerators)


def _joined(
    item: AcceleratorFacts, all_of_them: tuple[AcceleratorFacts, ...], openvino: OpenVinoFacts
) -> AcceleratorFacts:
    device = _device(item, all_of_them, openvino)
    if device is None:
        return item
    words = str(device.properties.get("DEVICE_ARCHITECTURE", ""))
    found: dict[str, object] = {}
    if item.architecture is None:
        if item.kind is Device.NPU:
            found["architecture"] = words if words.isdecimal() else None
        elif match := _ARCHITECTURE.search(words):
            found["architecture"] = match[1]
    if item.integrated is None and item.kind is Device.GPU:
        found["integrated"] = _TYPES.get(str(device.properties.get("DEVICE_TYPE")))
    return item.model_copy(update=found)


def _device(
    item: AcceleratorFacts, all_of_them: tuple[AcceleratorFacts, ...], openvino: OpenVinoFacts
) -> DeviceFacts | None:
    theirs = [one for one in openvino.devices
              if kind_of(one) is item.kind and not is_foreign(one)]  # fmt: skip
    for device in theirs:
        if pci_id(device) == item.pci_id:
            return device
    ours = [one for one in all_of_them if one.kind is item.kind]
    if len(ours) != 1 or len(theirs) != 1:
        return None
    return theirs[0] if pci_id(theirs[0]) is None else None  # another id is another device
