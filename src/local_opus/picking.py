"""Which model on which device a profile gets on this machine, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import JsonValue

from local_opus import measurements, whereabouts
from local_opus.catalog import reasons
from local_opus.catalog.fitting import Fit, fit, remedy
from local_opus.catalog.load import Catalog
from local_opus.catalog.needs import Serving
from local_opus.catalog.own import load_all as load_catalog
from local_opus.catalog.pick import choose
from local_opus.devices import ranking, usable
from local_opus.devices.names import AUTO, is_name, kind_of
from local_opus.devices.ranking import Measured
from local_opus.errors import BadInputError, MachineCannotError
from local_opus.history import Event
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.planner import serving_of
from local_opus.profiles import Profile
from local_opus.stock import dimensions_of, is_stored
from local_opus.tuning import tuned
from local_opus.values import Device, DiskFit, HostFacts, MemoryFit, Model
from local_opus.weights.sources import KINDS


@dataclass(frozen=True)
class Served:
    """What a profile's server runs; None: it has none. ``reasons`` say why, a line each."""

    model: Model | None = None
    device: Device | None = None
    device_name: str | None = None
    reasons: tuple[str, ...] = ()
    memory: MemoryFit | None = None
    disk: DiskFit | None = None


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
    """Read the receipt, and what was tuned; what is closed to this user says nothing.

    Raises LocalOpusError where the receipt is damaged.
    """
    try:
        receipt = whereabouts.receipt(host, locations)
    except PermissionError:
        return NOTHING
    history = receipt.history
    run = history.last_run if history.rested is Event.FINISHED else {}
    return Installed(run, (*measurements.of_records(receipt.records), *_tuned(host, locations)))


def _tuned(host: Host, locations: Locations) -> tuple[Measured, ...]:
    path = f"{locations.config}/{tuned.NAME}"
    try:
        found = measurements.of_tuned(tuned.parse(host.files.read_text(path), path))
    except (OSError, UnicodeDecodeError, BadInputError):  # none, closed, or what a server refuses
        return ()
    return () if found is None else (found,)


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
    if not profile.server.enabled:
        if model_id is not None:
            raise BadInputError(
                f"model {model_id}: the profile {profile.name} installs no model",
                "Choose a profile that does, e.g. --local-opus.",
            )
        return Served()
    wish = _Wish(host, locations, profile, facts, asked_device(profile, device), beside, before)
    return wish.with_fits(wish.pick(model_id or profile.model.id))


@dataclass(frozen=True)
class _Wish:
    """What is wanted of which machine."""

    host: Host
    locations: Locations
    profile: Profile
    facts: HostFacts
    device: str | None
    beside: int
    before: Installed

    @property
    def serving(self) -> Serving:
        """The context and the requests that the profile allows."""
        return serving_of(self.profile)

    def stored(self, model: Model, device: str | None) -> bool:
        """Whether the variant for this device is in the store."""
        return is_stored(self.host, self.locations, model, device)

    def fit(self, model: Model, device: str | None) -> Fit:
        """Say whether a model fits on a device, and with what it takes."""
        stored = self.stored(model, device)
        # The dimensions are those that a stored file states; before a download rules count.
        sized = dimensions_of(self.host, self.locations, model) if stored else None
        return fit(
            model, self.facts, device, self.serving, stored=stored, beside=self.beside,
            measured=self.before.measured, sized=sized,
        )  # fmt: skip

    def with_fits(self, served: Served) -> Served:
        """Return what is served with what it takes of memory and disk."""
        if served.model is None:
            return served
        fitting = self.fit(served.model, served.device_name)
        return replace(served, memory=fitting.memory_fit, disk=fitting.disk_fit)

    def pick(self, wanted: str | None) -> Served:
        """Return model, device and why."""
        catalog = load_catalog(self.host, self.locations)
        kept = self.before.chose(wanted, self.profile, self.device)
        found = self._kept(catalog, kept) if kept is not None else None
        if kept is not None and found is not None:
            return self._as_before(found, kept[1])
        if wanted is None:
            return self._best(catalog)
        model = catalog.get(wanted)
        fitting = self.fit(model, self.device)
        if not fitting.fits:
            raise MachineCannotError(
                f"{model.id}: {fitting.reasons[0]}",
                remedy(fitting, self.facts),
                details=fitting.reasons[1:],
            )
        name = fitting.name or ""
        return Served(model, fitting.device, name, self._why(model, name))

    def _why(self, model: Model, name: str) -> tuple[str, ...]:
        return reasons.of_plan(
            self.facts, model, name, self.device, self.before.measured, self.serving
        )

    def _best(self, catalog: Catalog) -> Served:
        use_case = self.profile.model.use_case
        picked = choose(
            catalog, self.facts, use_case, self.device,
            sources=frozenset(KINDS), beside=self.beside, stored=self.stored,
            measured=self.before.measured, serving=self.serving,
        )  # fmt: skip
        model, on = picked.taken.model, picked.taken.candidate
        why = self._why(model, on.name) + reasons.of_pick(picked, use_case)
        return Served(model, on.kind, on.name, why)

    def _kept(self, catalog: Catalog, kept: tuple[str, str]) -> Model | None:
        """Return the model that was installed, where it and its device are still there."""
        model_id, name = kept
        model = next((one for one in catalog.models if one.id == model_id), None)
        if model is None or usable.problem(self.facts, name) is not None:
            return None
        return model if self.stored(model, name) else None

    def _as_before(self, model: Model, name: str) -> Served:
        """Return what was installed, on the device that was measured to be faster since."""
        if self.device is None:
            name = self._faster(model, name)
        return Served(model, kind_of(name), name, self._why(model, name))

    def _faster(self, model: Model, name: str) -> str:
        measured = self.before.measured
        there = [
            one
            for one in ranking.candidates(self.facts)
            if ranking.last_measured(one, model.id, measured)
            and (
                one.name == name or fit(model, self.facts, one.name, self.serving, stored=True).fits
            )
        ]
        if name not in {one.name for one in there}:
            return name
        return ranking.ranked(there, model.id, measured)[0].name
