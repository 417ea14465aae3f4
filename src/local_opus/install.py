"""An install from choice to proof: facts, model, plan, apply, self-test."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, replace

from pydantic import JsonValue

from local_opus import (
    __version__,
    control,
    interpreter,
    kept_configs,
    licensing,
    node,
    planner,
    program,
    proof,
    resources,
    room,
    state,
    user_units,
    whereabouts,
)
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.apply import Applier
from local_opus.catalog.licenses import is_free
from local_opus.errors import BadInputError, InterruptedRunError
from local_opus.facts import gather
from local_opus.host import Host
from local_opus.journal import Listener, Outcome
from local_opus.keys import node_key
from local_opus.licensing import Terms
from local_opus.locations import Locations
from local_opus.opening import open_journal
from local_opus.picking import Served, asked_device, installed, pick_model
from local_opus.profiles import Profile
from local_opus.refusals import explained
from local_opus.report.reporter import Reporter
from local_opus.tuning import ordering
from local_opus.values import Device, HostFacts, Model, Plan, Scope
from local_opus.values.machine_tuning import MachineOrder
from local_opus.values.tuning import TuningOrder
from local_opus.values.user_manager import UserManager

#: The group that udev's default rules give the nodes of GPU and NPU.
_RENDER = "render"


@dataclass(frozen=True)
class Choice:
    """What an install will do, before it does it."""

    profile: Profile
    facts: HostFacts
    model: Model | None
    device: Device | None
    locations: Locations
    port: int
    plan: Plan
    #: Absolute path of a profile that is not the program's own.
    profile_file: str | None = None
    #: The device that the user or the profile named; None: the best was wanted.
    device_asked: str | None = None
    #: The licence that must still be accepted; None: nothing must be.
    terms: Terms | None = None
    #: Whether the user said to tune, or not to; None: neither.
    tune: bool | None = None
    #: The same of lingering.
    linger: bool | None = None
    #: What the user's systemd enforces; None: another scope, or none answers.
    user_manager: UserManager | None = None

    @property
    def device_name(self) -> str | None:
        """OpenVINO's name of the device, e.g. GPU.1."""
        return self.plan.device_name

    @property
    def environment(self) -> str:
        """The folder of the planned environment."""
        kind = CreateEnvironment.kind
        return next(str(one.params["folder"]) for one in self.plan.actions if one.kind == kind)


@dataclass(frozen=True)
class Result:
    """What an install came to."""

    outcome: Outcome
    changed: bool


def require_rights(host: Host, scope: Scope) -> None:
    """Raise BadInputError when this user can't install into the scope."""
    if scope is Scope.SYSTEM and host.euid != 0 and not host.is_image:
        raise BadInputError(
            "--scope system: needs root", "Run it with sudo, or use `--scope user`."
        )


def program_facts(host: Host, scope: Scope) -> planner.ProgramFacts:
    """Return the digests of this program and of its locks, and the Python to use."""
    names = resources.names("locks")
    folder = resources.folder("locks")
    return planner.ProgramFacts(
        locks={name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
        program_sha256=program.digest(),
        python=interpreter.choose(Host() if host.is_image else host, scope),
    )


def templates() -> dict[str, str]:
    """Return the texts of all templates and units."""
    return {
        name: resources.read(kind, name)
        for kind in ("templates", "systemd")
        for name in resources.names(kind)
    }


def prepare(
    host: Host,
    locations: Locations,
    profile: Profile,
    facts: HostFacts,
    *,
    model_id: str | None,
    device: str | None,
    port: int | None,
    trial_port: int | None = None,
    profile_file: str | None = None,
    tune: bool | None = None,
    linger: bool | None = None,
) -> Choice:
    """Choose and plan; nothing is changed. Raises LocalOpusError.

    With ``trial_port`` the new server is tried there before it takes the place of the old one.
    ``tune`` and ``linger`` None: as the profile says.
    """
    node_key.use(host, locations)
    control.require_known(host, locations)
    of_program = program_facts(host, locations.scope)
    coming = room.of_environment(host, locations, profile, of_program)
    served = pick_model(
        host,
        locations,
        profile,
        facts,
        model_id,
        device,
        beside=coming.on_disk_of_store,
        before=installed(host, locations),
    )
    model = served.model
    coming.require()
    if model is not None:
        licensing.require_token(host, locations, model)
    at_port = port or profile.server.port
    tunes = profile.tuning.enabled if tune is None else tune
    systemd = host.services.running(locations.scope)
    of_user = systemd and locations.scope is Scope.USER and profile.server.enabled
    lets = profile.server.linger if linger is None else linger
    request = planner.Request(
        profile=profile,
        model=model,
        device=served.device,
        device_name=served.device_name,
        device_groups=_device_groups(host, facts),
        reasons=served.reasons,
        memory=served.memory,
        disk=served.disk,
        locations=locations,
        root=host.root,
        is_image=host.is_image,
        systemd=systemd,
        program=of_program,
        templates=templates(),
        port=at_port,
        trial_port=trial_port,
        tuning=_tuning(locations, profile, facts, served) if tunes else None,
        machine=_machine(host, locations, profile, facts, served, measure=tune is not False),
        npus=tuple(one.pci_address for one in facts.accelerators if one.kind is Device.NPU),
        user_manager=user_units.to_plan(host, locations) if of_user else None,
        linger=host.accounts.own_name() if of_user and lets else None,
    )
    choice = Choice(
        profile,
        facts,
        model,
        served.device,
        locations,
        at_port,
        planner.plan(request),
        profile_file,
        asked_device(profile, device),
        tune=tune,
        linger=linger,
        user_manager=request.user_manager,
    )
    if model is None or is_free(model.license.id):
        return choice
    terms = licensing.terms(host, locations, model)
    if terms is not None:
        return replace(choice, terms=terms)
    before = licensing.accepted(whereabouts.receipt(host, locations).history, model)
    return choice if before is None else with_license(choice, before)


def _device_groups(host: Host, facts: HostFacts) -> tuple[str, ...]:
    """Return the groups that own the nodes of GPU and NPU, but for those of everything else.

    Of an image's nodes nothing is known: udev's own group for them, where it has that. A unit that
    names a group that is not there does not start.
    """
    names = {card.node_group for card in facts.accelerators} - {None, "root"}
    wanted = {_RENDER} if host.is_image else names
    return tuple(
        sorted(name for name in wanted if name and host.accounts.group_id(name) is not None)
    )


def _tuning(
    locations: Locations,
    profile: Profile,
    facts: HostFacts,
    served: Served,
) -> TuningOrder | None:
    """Return what is tuned; None where the environment that is planned has no OpenVINO."""
    lock = resources.read("locks", planner.lock_of(profile))
    version = re.search(r"^openvino==(\S+)", lock, re.MULTILINE)
    if version is None:
        return None
    model, on = served.model, served.device or Device.CPU
    found = ordering.order(
        facts,
        goal=profile.tuning.goal,
        seconds=profile.tuning.seconds,
        device=served.device_name or ordering.best_device(facts),
        openvino=version[1],
        base=planner.properties_of(profile),
        model=model,
        folder=planner.model_folder(locations, model, on) if model is not None else None,
        cache_size_gb=profile.server.cache_size_gb,
    )
    if profile.machine.npu_turbo:
        return found
    settings = tuple(one for one in found.settings if "NPU_TURBO" not in one.properties)
    return found.model_copy(update={"settings": settings})


def _machine(
    host: Host,
    locations: Locations,
    profile: Profile,
    facts: HostFacts,
    served: Served,
    *,
    measure: bool,
) -> MachineOrder | None:
    """Return what of the machine's own settings is measured; None: the profile wants none."""
    subject = _tuning(locations, profile, facts, served) if profile.machine.enabled else None
    if subject is None:
        return None
    seconds = profile.machine.seconds
    return MachineOrder(
        items=planner.items_of(profile.machine),
        scope=locations.scope,
        seconds=seconds,
        subject=subject.model_copy(update={"goal": "latency", "seconds": seconds, "settings": ()}),
        server=profile.server.enabled,
        systemd=host.services.running(locations.scope),
        measure=measure,
    )


def with_license(choice: Choice, license_id: str) -> Choice:
    """Return the choice with a licence that the user has accepted, for the receipt to keep."""
    return replace(choice, plan=planner.with_license(choice.plan, license_id), terms=None)


def detect(host: Host, locations: Locations) -> HostFacts:
    """Return the host facts; the disk is the one that the store lies on."""
    machine = Host() if host.is_image else host
    return gather(host, disk_path=locations.models, machine=machine)


def pending(host: Host, choice: Choice) -> list[str]:
    """Return the ids of the actions that are still to do; none: no changes.

    Raises BadInputError for a config that the user edited to what can't be: it would be kept.
    """
    journal = open_journal(host, choice.locations)
    applier = Applier(journal)
    kept_configs.require_sound(host, choice.plan, choice.locations.server_config, applier.edits())
    waiting = applier.pending(choice.plan)
    return waiting if journal.history.finished else (waiting or ["self-test"])


def install(host: Host, choice: Choice, tell: Reporter) -> Result:
    """Apply the plan and test the result. Raises LocalOpusError after having rolled back."""
    if choice.terms is not None:
        raise choice.terms.refusal()
    locations = choice.locations
    whereabouts.require(host, locations)
    _use_workers_of(host, choice)
    if choice.profile.server.enabled and not host.is_image:
        node.require_free_port(host, locations, choice.profile.server.host, choice.port)
    held = state.held(host, locations)
    with explained(locations.state), held, explained(locations.receipt):
        listener = Listener(tell.started, tell.progress, tell.finished)
        journal = open_journal(host, locations, listener, held=True)
        measured = choice.user_manager
        facts: dict[str, JsonValue] = {
            "program": __version__,
            "profile": choice.profile.name,
            "profile_file": choice.profile_file,
            "model": choice.model.id if choice.model else None,
            "device": choice.device.value if choice.device else None,
            "device_name": choice.device_name,
            "device_asked": choice.device_asked,
            "use_case": choice.profile.model.use_case if choice.model else None,
            "scope": locations.scope.value,
            "port": choice.port,
            "tune": choice.tune,
            "linger": choice.linger,
            user_units.FACT: measured.model_dump_json() if measured is not None else None,
        }
        applier = Applier(journal)
        plan = choice.plan
        if host.is_image and "variant" in applier.pending(plan):
            # The conversion runs in the environment, and nothing that an image holds is run.
            plan = planner.with_environment_anew(plan)
        try:
            outcome = applier.apply(plan, facts, lambda: proof.prove(host, choice, tell))
        except InterruptedRunError:
            raise
        except Exception:  # whatever it was, it is raised again
            if not any(entry.active for entry in journal.history.entries):
                with suppress(OSError):  # a full disk: what stays says that nothing else does
                    state.leave(host, locations, journal.receipt)
            raise
    return Result(outcome, bool(outcome.changed))


def _use_workers_of(host: Host, choice: Choice) -> None:
    """Run workers in the planned environment: the installer's own has no GenAI."""
    host.processes.worker_python = host.files.real_path(f"{choice.environment}/bin/python")


def edits(host: Host, choice: Choice) -> list[str]:
    """Return what the user edited since it was installed."""
    return [*Applier(open_journal(host, choice.locations)).edits().values()]
