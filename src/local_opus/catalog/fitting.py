"""Whether a model fits a machine, and on which device. Pure: facts in, answer out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_opus.catalog import needs
from local_opus.catalog.engine_memory import Dimensions
from local_opus.catalog.needs import DEFAULT_SERVING, Serving
from local_opus.devices import npu_form, ranking, usable
from local_opus.devices.cards import UNKNOWN_CARD
from local_opus.devices.names import kind_of
from local_opus.devices.ranking import Measured
from local_opus.units import size_text
from local_opus.values import Device, DiskFit, HostFacts, MemoryFit, Model
from local_opus.weights.genai import file_type_problem


@dataclass(frozen=True)
class Fit:
    """Whether a model fits: on which device, or every reason why not, one line each."""

    fits: bool
    device: Device | None
    reasons: tuple[str, ...]
    memory: int
    disk: int
    #: Bytes to free on the disk of the store, where nothing else is missing.
    lacking: int = 0
    #: OpenVINO's name of ``device``, e.g. GPU.1.
    name: str | None = None
    #: What ``memory`` and ``disk`` are made of: on that device, or on the one that was nearest.
    memory_fit: MemoryFit | None = None
    disk_fit: DiskFit | None = None


def fit(
    model: Model,
    facts: HostFacts,
    device: str | None,
    serving: Serving = DEFAULT_SERVING,
    *,
    stored: bool = False,
    beside: int = 0,
    measured: Sequence[Measured] = (),
    sized: Dimensions | None = None,
) -> Fit:
    """Say whether a model fits a machine on a device; without one, on the best that it fits.

    ``device`` is OpenVINO's name: "GPU.1" is that one, "GPU" the best of all GPUs. ``serving``:
    the context and the requests that a profile allows. ``sized``: the model's dimensions, where
    its file was read; else rules stand for them.
    ``stored``: the model is on this disk in the form that is served, so it needs no more room
    there and no memory for a conversion. ``beside``: the bytes that else comes onto this disk.
    """
    tries = _tries(model, facts, device, measured)
    memories = {one: memory_fit(model, facts, one, serving, sized) for one in tries}
    by_device = {
        one: _device_reasons(model, facts, one, memories[one], stored=stored) for one in tries
    }
    taken = next((one for one, reasons in by_device.items() if not reasons), None)
    reasons = []
    if taken is None:
        # Of several devices the CPU's reasons say most: it is always there.
        shown = by_device.get(Device.CPU) or next(iter(by_device.values()))
        reasons += shown
    nearest = taken or (Device.CPU if Device.CPU in tries else tries[0])
    unread = file_type_problem(model.quantization) if model.format == "gguf" else None
    if unread is not None:
        reasons.append(unread)
    if model.format == "gguf" and len(model.files) > 1:
        reasons.append(
            f"its GGUF is split into {len(model.files)} files; this version converts one file only"
        )
    coming = needs.disk_fit(model, facts.disk, stored=stored, environment=beside)
    lacking = 0 if stored else max(0, coming.bytes - facts.disk.free)
    if lacking:
        reasons.append(
            f"needs {size_text(coming.bytes)} disk{_parts(model, beside)},"
            f" {size_text(facts.disk.free)} free at {facts.disk.path}"
        )
    lacking = lacking if len(reasons) == 1 else 0
    name = None if reasons else taken
    kind = kind_of(name) if name else None
    return Fit(
        not reasons,
        kind,
        tuple(reasons),
        memories[nearest].bytes,
        needs.disk(model),
        lacking,
        name,
        memories[nearest],
        coming,
    )


def memory_fit(
    model: Model, facts: HostFacts, name: str, serving: Serving, sized: Dimensions | None = None
) -> MemoryFit:
    """Return what serving takes on a device of this machine, and what there is."""
    need = needs.serving(sized or model, serving, kind_of(name))
    room, whose = _room(facts, name)
    if usable.is_discrete(facts, name):
        need = needs.on_card(need)
    return need.model_copy(update={"usable": room, "whose": whose.strip()})


def _tries(
    model: Model, facts: HostFacts, device: str | None, measured: Sequence[Measured]
) -> list[str]:
    """Return the names of the devices to try, the best first; never none."""
    if device is not None and device != Device.GPU:
        found = usable.openvino_device(facts, device)
        return [found.name if found else device]
    order = ranking.ranked(ranking.candidates(facts), model.id, measured)
    wanted = model.devices if device is None else (Device.GPU,)
    names = [one.name for one in order if one.kind in wanted]
    return names or [device or next(iter(model.devices), Device.CPU)]


def _parts(model: Model, beside: int) -> str:
    """Name what comes onto the disk, where it is more than the weights."""
    parts = ["weights"]
    parts += ["their conversion"] if model.format == "gguf" else []
    parts += ["the environment"] if beside else []
    *first, last = parts
    return f" ({', '.join(first)} and {last})" if first else ""


def remedy(found: Fit, facts: HostFacts) -> str:
    """Return what to do where a model does not fit."""
    others = "`local-opus models list --fitting` shows what fits this machine."
    if not found.lacking and _context_is_too_much(found):
        return (
            "Allow less context in a profile (server.max_concurrent, server.context), or choose"
            f" another: {others}"
        )
    if not found.lacking:
        return f"Choose another: {others}"
    return (
        f"Free {size_text(found.lacking)} ({found.lacking:,} bytes) on the disk of"
        f" {facts.disk.path}, or choose another: {others}"
    )


def _context_is_too_much(found: Fit) -> bool:
    """Whether the model would fit, but for the context of all requests that are allowed."""
    memory = found.memory_fit
    if memory is None or memory.usable is None or memory.fits or len(found.reasons) > 1:
        return False
    rest = sum(part.bytes for part in memory.parts if part.name != needs.KV_CACHE)
    return rest < memory.usable


def _device_reasons(
    model: Model, facts: HostFacts, name: str, memory: MemoryFit, *, stored: bool
) -> list[str]:
    device = kind_of(name)
    if device not in model.devices:
        return [_not_offered(model, device)]
    unusable = usable.problem(facts, name)
    if unusable is not None:
        return [unusable]
    reasons = []
    if device is Device.NPU and (form := _npu_problem(model, facts, name)) is not None:
        reasons.append(form)
    if memory.usable is not None and not memory.fits:
        about = "about " if memory.estimated else ""
        whose = f" {memory.whose}" if memory.whose else ""
        reasons.append(
            f"needs {about}{size_text(memory.bytes)} memory,"
            f" {size_text(memory.usable)} usable{whose}"
        )
    making = 0 if stored else needs.conversion_memory(model)
    if making > facts.memory.usable:
        reasons.append(
            f"needs about {size_text(making)} memory to convert its GGUF,"
            f" {size_text(facts.memory.usable)} usable"
        )
    return reasons


def _room(facts: HostFacts, name: str) -> tuple[int, str]:
    """Return the bytes that a model may take on a device, and the words that say whose."""
    own = usable.own_memory(facts, name)
    on = f" on {name if '.' in name else f'the {name}'}"
    if usable.is_discrete(facts, name):
        if own is None:
            return UNKNOWN_CARD, f"{on} (not stated: counted as the smallest card)"
        return own, on
    if own is not None and own < facts.memory.usable:
        return own, on
    return facts.memory.usable, ""


def _npu_problem(model: Model, facts: HostFacts, name: str) -> str | None:
    found = usable.openvino_device(facts, name)
    stated = found.properties.get("DEVICE_ARCHITECTURE") if found else None
    return npu_form.problem(model.quantization, None if stated is None else str(stated))


def _not_offered(model: Model, device: Device) -> str:
    broken = npu_form.problem(model.quantization) if model.format != "gguf" else None
    if device is Device.NPU and broken is not None:
        return broken
    offered = ", ".join(one.value for one in model.devices)
    if model.format == "gguf" and device is Device.NPU:
        return (
            "GGUF is not offered for the NPU: its reader fails on grouped-query attention there;"
            f" runs on {offered}"
        )
    return f"not offered for the {device.value}: runs on {offered} (see its caveats)"
