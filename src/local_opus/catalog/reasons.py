"""Why a plan has this model and this device, one plain line each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from local_opus.catalog import needs
from local_opus.catalog.fitting import fit
from local_opus.catalog.needs import DEFAULT_SERVING, Serving
from local_opus.catalog.pick import FAST, Picked, UseCase
from local_opus.devices import npu_form, ranking
from local_opus.devices.ranking import Measured
from local_opus.devices.reasons import called, of_devices
from local_opus.units import rate_text, size_text
from local_opus.values import Device, HostFacts, Model


def of_plan(
    facts: HostFacts,
    model: Model,
    name: str,
    asked: str | None,
    measured: Sequence[Measured] = (),
    serving: Serving = DEFAULT_SERVING,
) -> tuple[str, ...]:
    """Return why a model runs on the device ``name``; ``asked`` is what the user named."""
    found = ranking.ranked(ranking.candidates(facts), model.id, measured)
    taken = next((one for one in found if one.name == name), None)
    if taken is None:  # nothing is known of it: an image's CPU, say
        return ()
    lines = [*of_devices(facts, taken, found, asked), _speed(model, taken, measured)]
    if taken.kind is Device.NPU:
        lines.append(f"the NPU takes its weights as they are: {npu_form.words(model.quantization)}")
    if asked is None:
        lines += _too_small(facts, model, found, name, serving)
    return tuple(lines)


def of_pick(picked: Picked, use_case: UseCase) -> tuple[str, ...]:
    """Return why this model, where the program chose it."""
    taken = picked.taken
    lines = [
        f"no model made for {use_case} fits {called(one.candidate)} and is fast enough there"
        for one in picked.passed
        if taken.suits and not one.suits
    ]
    if not taken.suits:
        lines.append(_not_made_for_it(picked, use_case))
    if picked.slower is not None:
        slow = picked.slower
        lines.append(
            f"not {slow.model.id} ({slow.model.parameters} parameters): it fits "
            f"{called(slow.candidate)}, but about {rate_text(slow.tokens_per_second)} tokens/s are "
            f"expected, and it should give {slow.least:g}"
        )
    elif not taken.is_fast:
        lines.append(
            f"every model is expected to be slow here: {taken.model.id} is the smallest that fits"
        )
    return tuple(lines)


def _not_made_for_it(picked: Picked, use_case: UseCase) -> str:
    taken = picked.taken.model.id
    made = [one for one in (*picked.passed, *picked.others) if one.suits]
    if not made:
        return (
            f"{taken} is not made for {use_case}: no model that is fits this machine and is "
            f"expected to give {FAST:g} tokens/s"
        )
    best = max(made, key=lambda one: one.tokens_per_second)
    return (
        f"{taken} is not made for {use_case}; {best.model.id} is, on {best.candidate.name} at "
        f"about {rate_text(best.tokens_per_second)} tokens/s: "
        f"`--device {best.candidate.name}` takes it"
    )


def _speed(model: Model, taken: ranking.Candidate, measured: Sequence[Measured]) -> str:
    loaded = needs.loaded_size(model)
    words = f"{model.id}: each token reads {size_text(loaded)} of weights"
    last = ranking.last_measured(taken, model.id, measured)
    if last is not None:
        return f"{words}; {last.tokens_per_second:g} tokens/s were measured here"
    rate = ranking.expected(taken, loaded)
    return f"{words}, so at most about {rate_text(rate)} tokens/s are expected"


def _too_small(
    facts: HostFacts,
    model: Model,
    found: Sequence[ranking.Candidate],
    name: str,
    serving: Serving,
) -> Iterator[str]:
    """Name the devices before the one taken, which this model does not fit."""
    for one in found:
        if one.name == name:
            return
        reasons = fit(model, facts, one.name, serving, stored=True).reasons
        if reasons:
            yield f"{one.name} does not take {model.id}: {reasons[0]}"
