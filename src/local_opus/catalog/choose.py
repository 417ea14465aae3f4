"""Whether a model fits a machine, and which fits best. Pure: facts in, answer out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from local_opus.catalog import devices, needs
from local_opus.catalog.licenses import is_free
from local_opus.catalog.load import Catalog
from local_opus.errors import MachineCannotError
from local_opus.units import size_text
from local_opus.values import Device, HostFacts, HubSource, Model
from local_opus.weights.genai import file_type_problem

UseCase = Literal["chat", "coding", "analysis"]
#: Which device is taken where the user names none. The NPU answers one request at a time and
#: limits the prompt's length (1024 tokens by default), so it is taken only for models that run
#: nowhere else, or when it is asked for.
AUTO_ORDER = (Device.GPU, Device.CPU, Device.NPU)
#: The largest weights for each processor core that are chosen unasked for the CPU: each token
#: reads them all. A rule of thumb, not a measurement; a model named by the user may be larger.
_CPU_BYTES_PER_CORE = 2**30
#: What "analysis" asks for: room for long documents.
_LONG_CONTEXT = 32768


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


def fit(
    model: Model,
    facts: HostFacts,
    device: Device | None,
    concurrency: int = 1,
    *,
    stored: bool = False,
    beside: int = 0,
) -> Fit:
    """Say whether a model fits a machine on a device; without one, on the first of AUTO_ORDER.

    ``stored``: the model is on this disk in the form that is served, so it needs no more room
    there and no memory for a conversion. ``beside``: the bytes that else comes onto this disk.
    """
    memory, disk = needs.serving_memory(model, concurrency), needs.disk(model)
    tries = [device] if device else [one for one in AUTO_ORDER if one in model.devices]
    by_device = {one: _device_reasons(model, facts, one, memory, stored=stored) for one in tries}
    taken = next((one for one, reasons in by_device.items() if not reasons), None)
    reasons = []
    if taken is None:
        # Of several devices the CPU's reasons say most: it is always there.
        shown = by_device.get(Device.CPU) or next(iter(by_device.values()))
        reasons += shown
    unread = file_type_problem(model.quantization) if model.format == "gguf" else None
    if unread is not None:
        reasons.append(unread)
    if model.format == "gguf" and len(model.files) > 1:
        reasons.append(
            f"its GGUF is split into {len(model.files)} files; this version converts one file only"
        )
    lacking = 0 if stored else max(0, disk + beside - facts.disk.free)
    if lacking:
        reasons.append(
            f"needs {size_text(disk + beside)} disk{_parts(model, beside)},"
            f" {size_text(facts.disk.free)} free at {facts.disk.path}"
        )
    lacking = lacking if len(reasons) == 1 else 0
    return Fit(not reasons, None if reasons else taken, tuple(reasons), memory, disk, lacking)


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
    if not found.lacking:
        return f"Choose another: {others}"
    return (
        f"Free {size_text(found.lacking)} ({found.lacking:,} bytes) on the disk of"
        f" {facts.disk.path}, or choose another: {others}"
    )


def _device_reasons(
    model: Model, facts: HostFacts, device: Device, memory: int, *, stored: bool
) -> list[str]:
    if device not in model.devices:
        return [_not_offered(model, device)]
    unusable = devices.problem(facts, device)
    if unusable is not None:
        return [unusable]
    reasons = []
    usable, whose = facts.memory.usable, ""
    own = devices.own_memory(facts, device)
    if own is not None and (devices.is_discrete(facts, device) or own < usable):
        usable, whose = own, f" on the {device.value}"
    if memory > usable:
        about = "about " if model.memory.estimated else ""
        reasons.append(
            f"needs {about}{size_text(memory)} memory, {size_text(usable)} usable{whose}"
        )
    making = 0 if stored else needs.conversion_memory(model)
    if making > facts.memory.usable:
        reasons.append(
            f"needs about {size_text(making)} memory to convert its GGUF,"
            f" {size_text(facts.memory.usable)} usable"
        )
    return reasons


def _not_offered(model: Model, device: Device) -> str:
    offered = ", ".join(one.value for one in model.devices)
    if model.format == "gguf" and device is Device.NPU:
        return (
            "GGUF is not offered for the NPU: its reader fails on grouped-query attention there;"
            f" runs on {offered}"
        )
    return f"not offered for the {device.value}: runs on {offered} (see its caveats)"


def choose(
    catalog: Catalog,
    facts: HostFacts,
    use_case: UseCase,
    device: Device | None,
    *,
    sources: Collection[str] = ("wheel", "hub"),
    beside: int = 0,
    stored: Callable[[Model, Device], bool] = lambda _model, _device: False,
) -> Model:
    """Return the best model that fits and can be fetched from one of the kinds of ``sources``.

    Only ungated models under a free licence are looked at, and none that a user pinned. On the
    first device that any of them fits, the best is: made for the use case, then with the most
    parameters, then ready as IR, then at a stated revision, then with the fewest caveats, the
    longest context, the most sources of its figures, the smallest size. On the CPU models above
    1 GiB of weights a core come after all others, the smallest first. Raises MachineCannotError
    with the reasons of the smallest models when none fits.
    """
    unusable = devices.problem(facts, device) if device else None
    if unusable is not None:
        raise MachineCannotError(unusable, "Choose another device, or `--device auto`.")
    # What a user pinned is for him to name: nobody else looked at it.
    ours = (model for model in catalog.models if model.id not in catalog.own)
    free = [model for model in ours if _may_be_chosen(model, sources)]
    for one in [device] if device else AUTO_ORDER:
        fitting = [
            model
            for model in free
            if fit(model, facts, one, beside=beside).fits
            or (fit(model, facts, one, stored=True).fits and stored(model, one))
        ]
        if fitting:
            return _best(fitting, facts, use_case, one)
    smallest = sorted(free, key=lambda model: model.memory.bytes)[:3]
    nearest = fit(smallest[0], facts, device, beside=beside)
    what = "Free what is missing, or run `local-opus models list` to see what each model needs."
    raise MachineCannotError(
        f"no model of the catalog fits this machine{f' on the {device.value}' if device else ''}",
        remedy(nearest, facts) if nearest.lacking else what,
        details=[
            f"{one.id}: {reason}"
            for one in smallest
            for reason in fit(one, facts, device, beside=beside).reasons
        ],
    )


def _may_be_chosen(model: Model, sources: Collection[str]) -> bool:
    free = is_free(model.license.id) and model.license.gated is not True
    return free and model.source.kind in sources


def _best(models: Iterable[Model], facts: HostFacts, use_case: UseCase, device: Device) -> Model:
    cores_allow = facts.cpu.usable_cores * _CPU_BYTES_PER_CORE

    def rank(model: Model) -> tuple[float, ...]:
        if device is Device.CPU and needs.loaded_size(model) > cores_allow:
            return (0, -needs.loaded_size(model))
        pinned = not isinstance(model.source, HubSource) or model.source.revision is not None
        return (
            1,
            _suits(model, use_case),
            needs.billions(model),
            model.format == "openvino-ir",
            pinned,
            -len(model.caveats),
            model.context_length or 0,
            len(model.figures),
            -model.size,
        )

    return max(models, key=rank)


def _suits(model: Model, use_case: UseCase) -> bool:
    for_code = "coder" in model.family.casefold()
    if use_case == "coding":
        return for_code
    if use_case == "analysis":
        return not for_code and (model.context_length or 0) >= _LONG_CONTEXT
    return not for_code
