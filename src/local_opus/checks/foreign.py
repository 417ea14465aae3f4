"""Whether a GPU or NPU of another maker can be taken for Intel's."""

from __future__ import annotations

from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.devices.matching import is_foreign, kind_of
from local_opus.values import DeviceFacts, Fix


def ask(context: Context) -> Answer:
    """Look for devices of others, on the bus and in OpenVINO's list."""
    facts = context.facts()
    listed = [device for device in facts.openvino.devices if is_foreign(device)]
    seen = [f"{one.kind.value} {one.pci_id}{_node(one.node)}" for one in facts.foreign]
    if not listed and not seen:
        raise NotApplicableError("no GPU or NPU of another maker")
    used = context.used_device()
    for device in listed:
        if used in _names(device):
            return failed(
                f"the server is set to {used}, which is {device.full_name}, not Intel's",
                _other_device(context),
            )
    if listed:
        first = listed[0]
        kind = kind_of(first)
        ours = [
            device.name
            for device in facts.openvino.devices
            if device not in listed and kind_of(device) is kind
        ]
        text = f"Where you name a {kind} yourself, name Intel's: {', '.join(ours)}."
        if not ours:
            text = f"Name no {kind}: none of OpenVINO's list is Intel's."
        return warned(
            f"OpenVINO lists {first.name}, {first.full_name}: not Intel's, and never chosen here",
            advise(text),
        )
    return passed(f"{', '.join(seen)}: not Intel's, OpenVINO does not list it, nothing uses it")


def _names(device: DeviceFacts) -> set[str]:
    """Return what a config may call a device: plain GPU is the first."""
    kind, _, number = device.name.partition(".")
    return {device.name, kind} if number in {"", "0"} else {device.name}


def _node(node: str | None) -> str:
    return f" ({node})" if node else ""


def _other_device(context: Context) -> Fix:
    return advise(
        "Choose another device.",
        f"local-opus install --local-opus --model {context.settings().model} --device auto",
    )


CHECK = Check("foreign", "other makers' GPUs", Group.DEVICES, ask, SECONDS_WITH_FACTS)
