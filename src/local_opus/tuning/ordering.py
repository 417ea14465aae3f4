"""What an install, or `tune`, orders to be tuned. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from local_opus.catalog.needs import Serving, serving_memory
from local_opus.devices.names import kind_of
from local_opus.devices.ranking import candidates as candidates_of
from local_opus.devices.ranking import ranked
from local_opus.devices.settings import candidates
from local_opus.values import Device, HostFacts, Model
from local_opus.values.tuning import Goal, TuningOrder


def order(
    facts: HostFacts,
    *,
    goal: Goal,
    seconds: int,
    device: str,
    openvino: str,
    base: Mapping[str, JsonValue],
    model: Model | None = None,
    folder: str | None = None,
    context_length: int | None = None,
    cache_size_gb: int = 1,
) -> TuningOrder:
    """Return the order for a model in its folder, or for a generated graph without one."""
    band = model.canary if model is not None else None
    length = context_length or (model.context_length if model is not None else None)
    return TuningOrder(
        goal=goal,
        seconds=seconds,
        settings=candidates(facts, device, goal, base, model=model is not None),
        device=device,
        device_name=device_name(facts, device),
        driver=driver_of(facts, device),
        openvino=openvino,
        base=dict(base),
        model=model.id if model is not None else None,
        folder=folder,
        context_length=length or 2048,
        cache_size_gb=cache_size_gb,
        memory=serving_memory(model, Serving(cache_size_gb=cache_size_gb))
        if model is not None
        else 0,
        text=band.text if band is not None else None,
        band=(band.low, band.high) if band is not None else None,
    )


def device_name(facts: HostFacts, device: str) -> str:
    """Return a device's own name, the same before OpenVINO is there to be asked and after.

    A processor's is what it says itself (CPUID), to the kernel and to OpenVINO alike.
    """
    found = next((one for one in facts.openvino.devices if one.name == device), None)
    if found is not None:
        return found.full_name
    return facts.cpu.model if device == Device.CPU.value else device


def best_device(facts: HostFacts) -> str:
    """Return OpenVINO's name of the device that a model would be served on, where there is none."""
    found = ranked(candidates_of(facts))
    return found[0].name if found else Device.CPU.value


def driver_of(facts: HostFacts, device: str) -> str | None:
    """Return what tells one version of a device's driver from another; None: it has none."""
    if kind_of(device) is Device.CPU:
        return None
    found = next((one for one in facts.openvino.devices if one.name == device), None)
    said = found.properties.get("NPU_DRIVER_VERSION") if found is not None else None
    packages = facts.software.packages
    words = [f"{name} {version}" for name, version in sorted(packages.items())]
    return ", ".join([*([str(said)] if said is not None else []), *words]) or None
