"""Which model is the best for a use on this machine, and on which device. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from local_opus.catalog import needs
from local_opus.catalog.fitting import fit, remedy
from local_opus.catalog.licenses import is_free
from local_opus.catalog.load import Catalog
from local_opus.catalog.needs import DEFAULT_SERVING, Serving
from local_opus.devices import ranking, usable
from local_opus.devices.names import kind_of
from local_opus.devices.ranking import Candidate, Measured
from local_opus.errors import MachineCannotError
from local_opus.values import Device, HostFacts, HubSource, Model

UseCase = Literal["chat", "coding", "analysis"]
#: Tokens/s that a model should give at least: about as fast as a person reads. A rule.
FAST = 8.0
#: A device that runs a model of less than this part of the parameters that a device of another kind
#: runs fast enough gives way to it. A rule.
SMALLER = 0.5
#: A device gives way to one that is slower, but not by more than this. A rule.
SLOWER = 0.25
#: Billions of parameters below which a device gives way to any that does more. A rule.
TOY = 4.0
#: What "analysis" asks for: room for long documents.
_LONG_CONTEXT = 32768
#: Families that think before each answer and can't be told not to: for analysis, not for chat, and
#: at twice the speed, since most of what they write is thought.
_THINKERS = ("deepseek-r1",)


@dataclass(frozen=True)
class Option:
    """One model on one device, with the tokens/s that are expected of it there."""

    model: Model
    candidate: Candidate
    tokens_per_second: float
    suits: bool

    @property
    def is_fast(self) -> bool:
        """Whether it answers as fast as a person reads."""
        return self.tokens_per_second >= self.least

    @property
    def least(self) -> float:
        """The tokens/s that it should give."""
        return FAST * (2 if _thinks(self.model) else 1)


@dataclass(frozen=True)
class Picked:
    """The option that is taken, and the best of the devices that are not, in their ranking.

    ``passed`` are ranked above the one that is taken, ``others`` below. ``slower`` is the model
    with the most parameters that fits the device, where it is larger than the one taken and was
    left for its speed.
    """

    taken: Option
    passed: tuple[Option, ...] = ()
    others: tuple[Option, ...] = ()
    slower: Option | None = None


@dataclass(frozen=True)
class _Wish:
    facts: HostFacts
    use_case: UseCase
    beside: int
    stored: Callable[[Model, Device], bool]
    measured: Sequence[Measured]
    serving: Serving

    def fits(self, model: Model, name: str) -> bool:
        """Whether it fits the device, and the disk unless it is there."""
        if fit(model, self.facts, name, self.serving, beside=self.beside).fits:
            return True
        there = fit(model, self.facts, name, self.serving, stored=True).fits
        return there and self.stored(model, kind_of(name))

    def option(self, model: Model, candidate: Candidate) -> Option:
        """Return the model on the device."""
        rate = ranking.expected(candidate, needs.loaded_size(model))
        return Option(model, candidate, rate, suits(model, self.use_case))


def choose(
    catalog: Catalog,
    facts: HostFacts,
    use_case: UseCase,
    device: str | None,
    *,
    sources: Collection[str] = ("wheel", "hub"),
    beside: int = 0,
    stored: Callable[[Model, Device], bool] = lambda _model, _device: False,
    measured: Sequence[Measured] = (),
    serving: Serving = DEFAULT_SERVING,
) -> Picked:
    """Return the best model that fits and can be fetched from one of the kinds of ``sources``.

    Only ungated models under a free licence are looked at, and none that a user pinned. Of each
    device the best is: fast enough (FAST), made for the use case, else one that need not think
    first, then with the most parameters,
    then ready as IR, then at a stated revision, then with the fewest caveats, the longest context,
    the most sources of its figures, the smallest size; where none is fast enough the smallest. Of
    the devices the best in their ranking is taken whose model is fast enough, unless another one's
    suits the use case better, or has far more parameters (SMALLER; of two cards, more), and is not
    far slower (SLOWER, but for TOY).
    Raises MachineCannotError with the reasons of the smallest models when none fits.
    """
    unusable = usable.problem(facts, device) if device else None
    if unusable is not None:
        raise MachineCannotError(unusable, "Choose another device, or `--device auto`.")
    # What a user pinned is for him to name: nobody else looked at it.
    ours = (model for model in catalog.models if model.id not in catalog.own)
    free = [model for model in ours if _may_be_chosen(model, sources)]
    wish = _Wish(facts, use_case, beside, stored, measured, serving)
    best: list[tuple[Option, list[Option]]] = []
    for candidate in order(facts, device):
        options = [wish.option(one, candidate) for one in free if wish.fits(one, candidate.name)]
        if options and not (best and candidate.kind is Device.NPU):
            best.append((max(options, key=_rank), options))
    if not best:
        raise _nothing_fits(free, facts, device, beside, serving)
    taken, options = best[0]
    for other, its in best[1:]:
        if _is_better(other, taken):
            taken, options = other, its
    each = [one for one, _ in best]
    place = each.index(taken)
    return Picked(
        _by_measurement(wish, taken, order(facts, device)),
        tuple(each[:place]),
        tuple(each[place + 1 :]),
        _slower(taken, options) if taken.is_fast else None,
    )


def order(facts: HostFacts, device: str | None) -> list[Candidate]:
    """Return the devices that a user's word leaves open, the best first."""
    found = ranking.ranked(ranking.candidates(facts))
    if device is None:
        return found
    one = usable.openvino_device(facts, device)
    if device == Device.GPU:
        return [candidate for candidate in found if candidate.kind is Device.GPU]
    name = one.name if one else device
    return [candidate for candidate in found if candidate.name == name]


def _by_measurement(wish: _Wish, taken: Option, open_: Sequence[Candidate]) -> Option:
    """Return the model that is taken on the device that is measured to be faster with it.

    Only devices on which this model was measured are compared.
    """
    fitting = [
        one
        for one in open_
        if ranking.last_measured(one, taken.model.id, wish.measured)
        and wish.fits(taken.model, one.name)
    ]
    if taken.candidate not in fitting:
        return taken
    fastest = ranking.ranked(fitting, taken.model.id, wish.measured)[0]
    return wish.option(taken.model, fastest)


def suits(model: Model, use_case: UseCase) -> bool:
    """Whether a model is made for a use case, by its family and its context."""
    family = model.family.casefold()
    for_code = "coder" in family
    if use_case == "coding":
        return for_code
    if use_case == "analysis":
        return not for_code and (model.context_length or 0) >= _LONG_CONTEXT
    return not for_code and not _thinks(model)


def _thinks(model: Model) -> bool:
    return model.family.casefold().startswith(_THINKERS)


def _may_be_chosen(model: Model, sources: Collection[str]) -> bool:
    free = is_free(model.license.id) and model.license.gated is not True
    return free and model.source.kind in sources


def _rank(one: Option) -> tuple[float, ...]:
    model = one.model
    if not one.is_fast:
        return (0, -needs.loaded_size(model))
    pinned = not isinstance(model.source, HubSource) or model.source.revision is not None
    return (
        1,
        one.suits,
        one.suits or not _thinks(model),
        needs.billions(model),
        model.format == "openvino-ir",
        pinned,
        -len(model.caveats),
        model.context_length or 0,
        len(model.figures),
        -model.size,
    )


def _is_better(other: Option, first: Option) -> bool:
    """Say whether a device that is ranked lower is taken all the same."""
    if not other.is_fast or not first.is_fast:
        return other.is_fast
    near = other.tokens_per_second >= SLOWER * first.tokens_per_second
    if other.suits != first.suits:
        return other.suits and near
    cards = other.candidate.discrete and first.candidate.discrete
    billions = needs.billions(first.model)
    far_larger = billions < (1.0 if cards else SMALLER) * needs.billions(other.model)
    return far_larger and (near or billions < TOY)


def _slower(taken: Option, options: Sequence[Option]) -> Option | None:
    larger = [
        one
        for one in options
        if not one.is_fast
        and one.suits >= taken.suits
        and needs.billions(one.model) > needs.billions(taken.model)
    ]
    return max(
        larger,
        key=lambda one: (needs.billions(one.model), one.tokens_per_second),
        default=None,
    )


def _nothing_fits(
    free: Sequence[Model], facts: HostFacts, device: str | None, beside: int, serving: Serving
) -> MachineCannotError:
    smallest = sorted(free, key=lambda model: model.memory.bytes)[:3]
    nearest = fit(smallest[0], facts, device, serving, beside=beside)
    what = "Free what is missing, or run `local-opus models list` to see what each model needs."
    return MachineCannotError(
        f"no model of the catalog fits this machine{f' on the {device}' if device else ''}",
        remedy(nearest, facts) if nearest.lacking else what,
        details=[
            f"{one.id}: {reason}"
            for one in smallest
            for reason in fit(one, facts, device, serving, beside=beside).reasons
        ],
    )
