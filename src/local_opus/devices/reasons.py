"""Why a device is taken and others are not, one plain line each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from local_opus.devices import usable
from local_opus.devices.matching import is_foreign
from local_opus.devices.ranking import SHARE, Candidate, Rate, title
from local_opus.units import size_text
from local_opus.values import Device, DeviceChain, HostFacts


def figures(one: Candidate) -> str:
    """Return a device with what it is ranked by: its memory's bandwidth, its int8 peak."""
    shared = " of shared memory" if not one.discrete and one.kind is not Device.CPU else ""
    parts = [f"{_number(one.bandwidth)} GB/s{shared} {one.bandwidth.basis}"]
    if one.int8 is not None:
        parts.append(f"{_number(one.int8)} int8 TOPS {one.int8.basis}")
    if one.discrete:
        parts.append(f"{size_text(one.memory)} memory" if one.memory else "memory not stated")
    if one.kind is Device.CPU and one.reached < one.bandwidth.value * SHARE:
        parts.append(f"its cores take in about {one.reached:.0f} GB/s")
    return f"{called(one)}: {', '.join(parts)}"


def called(one: Candidate) -> str:
    """Return OpenVINO's name and the device's own: ``GPU.1 (Intel Arc B580)``."""
    integrated = one.kind is Device.GPU and not one.discrete
    return f"{one.name} ({one.title}{', integrated' if integrated else ''})"


def _number(rate: Rate) -> str:
    return f"{rate.value:.3g}"


def of_devices(
    facts: HostFacts, taken: Candidate, usable_ones: Sequence[Candidate], asked: str | None
) -> Iterator[str]:
    """Yield why this device, and why not the ones that a user may expect.

    ``asked`` is the device that the user named; then only what that name means is told.
    """
    yield f"runs on {figures(taken)}"
    if asked is None:
        for one in usable_ones:
            if one.name != taken.name and one.kind is not Device.NPU:
                yield f"not on {figures(one)}"
        yield from _npu(facts, taken, usable_ones)
        yield from _broken_gpus(facts)
        yield from _foreign(facts)
    gpus = [one for one in usable_ones if one.kind is Device.GPU]
    if taken.kind is Device.GPU and len(gpus) > 1 and asked in {None, "GPU"}:
        first = min(gpus, key=lambda one: one.name)
        kind = "a card" if first.discrete else "the integrated one"
        if first.name != taken.name:
            yield (
                f"plain GPU means {first.name} to OpenVINO, {kind} ({first.title}): "
                f"the server is set to {taken.name}"
            )


def _npu(facts: HostFacts, taken: Candidate, usable_ones: Sequence[Candidate]) -> Iterator[str]:
    if taken.kind is Device.NPU:
        return
    found = next((one for one in usable_ones if one.kind is Device.NPU), None)
    if found is not None:
        peak = f", {_number(found.int8)} int8 TOPS {found.int8.basis}" if found.int8 else ""
        yield (
            f"not on the NPU ({found.title}{peak}): it serves one request at a time and limits the "
            "prompt's length; `--device NPU` takes it, with a model in its form"
        )
    for chain in _broken(facts, Device.NPU):
        yield f"not on the NPU ({chain.name}): {usable.why(chain)}"


def _broken(facts: HostFacts, kind: Device) -> list[DeviceChain]:
    listed = usable.broken_though_listed(facts).values()
    return [*usable.broken(facts, kind), *(one for one in listed if one.device is kind)]


def _broken_gpus(facts: HostFacts) -> Iterator[str]:
    for chain in _broken(facts, Device.GPU):
        place = chain.openvino_name or "a GPU that is there"
        yield f"not on {place} ({chain.name}): {usable.why(chain)}"


def _foreign(facts: HostFacts) -> Iterator[str]:
    for one in facts.openvino.devices:
        if is_foreign(one):
            yield f"not on {one.name} ({title(one.full_name)}): it is not Intel's"
