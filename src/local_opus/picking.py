"""Which model on which device a profile gets on this machine, and why."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from local_opus import measurements, whereabouts
from local_opus.catalog import reasons
from local_opus.catalog.choose import fit, remedy
from local_opus.catalog.load import Catalog
from local_opus.catalog.own import load_all as load_catalog
from local_opus.catalog.pick import choose
from local_opus.devices import ranking, usable
from local_opus.devices.names import AUTO, is_name, kind_of
from local_opus.devices.ranking import Measured
from local_opus.errors import BadInputError, MachineCannotError
from local_opus.history import Event
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.profiles import Profile
from local_opus.stock import is_stored
from local_opus.values import Device, HostFacts, Model
from local_opus.weights.sources import KINDS


@dataclass(frozen=True)
class Served:
    """What a profile's server runs; None: it has none. ``reasons`` say why, a line each."""

    model: Model | None = None
    device: Device | None = None
    device_name: str | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Installed:
    """What the receipt says: the facts of the run that was finished last, and what it measured."""

    run: dict[str, JsonValue]
    measured: tuple[Measured, ...] = ()

    def chose(
        self, model_id: str | None, profile: Profile, device: str | None
    ) -> tuple[str, str] | None:
        """Return the model and the device that the same words led to; None: to nothing yet."""
        model, name = self.run.get("model"), self.run.get("device_name")
        if not isinstance(model, str) or not isinstance(name, str) or not is_name(name):
            return None
        if model_id is not None:
            same = model == model_id and device in {None, name, kind_of(name).value}
        else:
            said = {"profile": profile.name, "use_case": profile.model.use_case}
            same = said.items() <= self.run.items() and self.run.get("device_asked") == device
        return (model, name) if same else None


NOTHING = Installed({})


def installed(host: Host, locations: Locations) -> Installed:
    """Read the receipt; one that is closed to this user says nothing.

    Raises LocalOpusError where it is damaged.
    """
    try:
        receipt = whereabouts.receipt(host, locations)
    except PermissionError:
        return NOTHING
    history = receipt.history
    run = history.last_run if history.rested is Event.FINISHED else {}
    return Installed(run, measurements.of_records(receipt.records))


def asked_device(profile: Profile, device: str | None) -> str | None:
    """Return the device that the user or the profile names; None: the best is wanted."""
    return device or (profile.model.device if profile.model.device != AUTO else None)


def pick_model(
    host: Host,
    locations: Locations,
    profile: Profile,
    facts: HostFacts,
    model_id: str | None,
    device: str | None,
    *,
    beside: int = 0,
    before: Installed = NOTHING,
) -> Served:
    """Return the model and the device that a profile gets on this machine, and why.

    A model named by the user must fit; otherwise the best that fits is chosen. The same words as
    at the last install lead to the same model, whatever room its server leaves. ``device`` is
    OpenVINO's name, None: what the profile says, which may be the best. ``beside``: the bytes that
    come onto the store's disk with it. Raises BadInputError for an unknown model and
    MachineCannotError with the reasons when none fits.
    """
    catalog = load_catalog(host, locations)
    if not profile.server.enabled:
        if model_id is not None:
            raise BadInputError(
                f"model {model_id}: the profile {profile.name} installs no model",
                "Choose a profile that does, e.g. --local-opus.",
            )
        return Served()
    wanted, device = model_id or profile.model.id, asked_device(profile, device)
    kept = before.chose(wanted, profile, device)
    if kept is not None and (found := _kept(host, locations, catalog, facts, kept)) is not None:
        return _as_before(found, facts, device, kept[1], before.measured)
    if wanted is None:
        return _best(host, locations, catalog, profile, facts, device, beside, before.measured)
    model = catalog.get(wanted)
    stored = is_stored(host, locations, model, device)
    fitting = fit(model, facts, device, stored=stored, beside=beside, measured=before.measured)
    if not fitting.fits:
        raise MachineCannotError(
            f"{model.id}: {fitting.reasons[0]}",
            remedy(fitting, facts),
            details=fitting.reasons[1:],
        )
    name = fitting.name or ""
    why = reasons.of_plan(facts, model, name, device, before.measured)
    return Served(model, fitting.device, name, why)


def _best(
    host: Host,
    locations: Locations,
    catalog: Catalog,
    profile: Profile,
    facts: HostFacts,
    device: str | None,
    beside: int,
    measured: tuple[Measured, ...],
) -> Served:
    picked = choose(
        catalog,
        facts,
        profile.model.use_case,
        device,
        sources=frozenset(KINDS),
        beside=beside,
        stored=lambda model, device: is_stored(host, locations, model, device),
        measured=measured,
    )
    model, on = picked.taken.model, picked.taken.candidate
    why = reasons.of_plan(facts, model, on.name, device, measured)
    why += reasons.of_pick(picked, profile.model.use_case)
    return Served(model, on.kind, on.name, why)


def _kept(
    host: Host, locations: Locations, catalog: Catalog, facts: HostFacts, kept: tuple[str, str]
) -> Model | None:
    """Return the model that was installed, where it and its device are still there."""
    model_id, name = kept
    model = next((one for one in catalog.models if one.id == model_id), None)
    if model is None or usable.problem(facts, name) is not None:
        return None
    return model if is_stored(host, locations, model, name) else None


def _as_before(
    model: Model, facts: HostFacts, asked: str | None, name: str, measured: tuple[Measured, ...]
) -> Served:
    """Return what was installed, on the device that was measured to be faster since."""
    if asked is None:
        name = _faster(model, facts, name, measured)
    why = reasons.of_plan(facts, model, name, asked, measured)
    return Served(model, kind_of(name), name, why)


def _faster(model: Model, facts: HostFacts, name: str, measured: tuple[Measured, ...]) -> str:
    there = [
        one
        for one in ranking.candidates(facts)
        if ranking.last_measured(one, model.id, measured)
        and (one.name == name or fit(model, facts, one.name, stored=True).fits)
    ]
    if name not in {one.name for one in there}:
        return name
    return ranking.ranked(there, model.id, measured)[0].name
