"""``tune``: what is installed, tuned anew at the user's word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local_opus import (
    control,
    install,
    node,
    node_settings,
    planner,
    profiles,
    server_config,
    state,
    upgrade,
    whereabouts,
)
from local_opus.apply import Applier
from local_opus.catalog.own import load_all as load_catalog
from local_opus.errors import BadInputError, LocalOpusError, MachineCannotError
from local_opus.host import Host
from local_opus.locations import GROUP, Locations
from local_opus.opening import open_journal
from local_opus.profiles import Profile
from local_opus.tuning import Outcome, Tell, ordering, tuned, tuner
from local_opus.values import HostFacts, PlannedAction, Scope
from local_opus.values.tuning import Goal, Tuned, TuningOrder

#: The id of the action, in a plan and in the receipt.
ID = "tuning"


@dataclass(frozen=True)
class Wanted:
    """What would be tuned, and what of it the user set himself in openvino.json."""

    order: TuningOrder
    own: tuple[str, ...] = ()
    #: Why nothing can be measured: OpenVINO does not list the device, or can't be asked.
    lack: str | None = None


def wanted(host: Host, locations: Locations, *, goal: Goal | None, seconds: int) -> Wanted:
    """Return what would be tuned for what is installed. Raises LocalOpusError.

    A property that the user edited is his: nothing that would change it is tried.
    """
    profile = profile_of(host, locations)
    if planner.lock_of(profile) == planner.LOCKS["base"]:
        raise BadInputError(
            f"the profile {profile.name} has no OpenVINO, so there is nothing to tune",
            "Choose a profile that has, e.g. `install --local-opus`.",
        )
    control.use_installed_workers(host, locations)
    facts = install.detect(host, locations)
    version = (facts.openvino.version or "").partition("-")[0]
    goal = goal or profile.tuning.goal
    base = planner.properties_of(profile)
    if not profile.server.enabled:
        device = ordering.best_device(facts)
        order = ordering.order(
            facts, goal=goal, seconds=seconds, device=device, openvino=version, base=base
        )
        return Wanted(order, lack=_lack(facts, device))
    where = node_settings.settings(host, locations)
    there = server_config.openvino(host.files.read_text, locations.server_config).properties
    own = tuple(sorted(k for k in {*base, *there} if base.get(k) != there.get(k)))
    order = ordering.order(
        facts,
        goal=goal,
        seconds=seconds,
        device=where.device,
        openvino=version,
        base=there,
        model=load_catalog(host, locations).get(where.model),
        folder=where.model_folder,
        context_length=where.context_length,
        cache_size_gb=where.cache_size_gb,
    )
    left = tuple(one for one in order.settings if not set(own) & one.properties.keys())
    order = order.model_copy(update={"settings": left})
    return Wanted(order, own, _lack(facts, where.device))


def _lack(facts: HostFacts, device: str) -> str | None:
    listed = facts.openvino.devices
    if any(device in {one.name, one.name.partition(".")[0]} for one in listed):
        return None
    names = ", ".join(one.name for one in listed)
    return facts.openvino.problem or f"OpenVINO does not list it here; there is {names}"


def require_device(wanted: Wanted) -> None:
    """Raise MachineCannotError where nothing could be measured: no server is stopped for that."""
    if wanted.lack is not None:
        raise MachineCannotError(
            f"tune: {wanted.order.device}: {wanted.lack}", "`local-opus doctor` says what to do."
        )


def profile_of(host: Host, locations: Locations) -> Profile:
    """Return the profile of what is installed. Raises LocalOpusError."""
    history = upgrade.installed(host, locations)
    run = history.last_run or history.run
    said = run if isinstance(run, dict) else {}
    name = str(said.get("profile_file") or said["profile"])
    return profiles.load(name, host.files.read_text)


def require_unedited(host: Host, locations: Locations) -> None:
    """Raise LocalOpusError where the user edited tuned.json: it would be kept, and nothing done."""
    edit = Applier(open_journal(host, locations)).edits().get(ID)
    if edit is not None:
        raise LocalOpusError(edit, f"Move {locations.tuned} away, then run this again.")


def measure(host: Host, locations: Locations, order: TuningOrder, tell: Tell) -> Tuned:
    """Measure; nothing is written. A server that runs is stopped for it, and started again.

    Raises LocalOpusError where it can't be stopped or started or another run is at work, and
    KeyboardInterrupt.
    """
    with state.held_if_there(host, locations), machine_alone(host, locations, tell):
        return tuner.tune(host, order, tell)


@contextmanager
def machine_alone(host: Host, locations: Locations, tell: Tell) -> Iterator[None]:
    """Stop the server for the time, and start it again where it ran. Raises LocalOpusError."""
    running = node.serving(host, locations) is not None
    if running:
        tell("stop the server for the time", 0)
        control.pause(host, locations)
    try:
        yield
    finally:
        if running:
            tell("start the server again", 0)
            control.start(host, locations, lambda _waited: None)


def keep(host: Host, locations: Locations, order: TuningOrder, result: Tuned) -> None:
    """Write a result, journalled; a server that runs is started anew with it.

    Where it does not start with what was chosen, the defaults are put back and it is started with
    those. Raises LocalOpusError.
    """
    was_default = _chosen_now(host, locations)
    _write(host, locations, order, result)
    if result.chosen.is_default and was_default:
        return
    try:
        restart(host, locations)
    except LocalOpusError as error:
        if result.chosen.is_default:
            raise
        _write(host, locations, order, without(host, order, result, error.message))
        restart(host, locations)
        raise LocalOpusError(
            f"the server did not start with what was chosen: {error.message}",
            "It runs with the defaults again.",
        ) from error


def reset(host: Host, locations: Locations, order: TuningOrder) -> bool:
    """Go back to the defaults; return whether anything else was set."""
    if host.files.stat(locations.tuned) is None:
        return False
    if _chosen_now(host, locations):
        return False
    holds_for = order.holds_for(tuner.weights_digest(host, order))
    outcome = Outcome(problem="taken back by `tune --reset`")
    keep(host, locations, order, tuner.result(host, order, holds_for, outcome, 0.0))
    return True


def without(host: Host, order: TuningOrder, result: Tuned, why: str) -> Tuned:
    """Return the same result with nothing chosen."""
    outcome = Outcome(tried=[*result.tried], noise=result.noise, problem=why)
    return tuner.result(host, order, result.tuned_for, outcome, result.seconds)


def _chosen_now(host: Host, locations: Locations) -> bool:
    """Whether the server runs with the defaults now, as far as tuning goes."""
    if host.files.stat(locations.tuned) is None:
        return True
    found = tuned.parse(host.files.read_text(locations.tuned), locations.tuned)
    return found.chosen.is_default


def restart(host: Host, locations: Locations) -> None:
    """Start the server anew where it runs. Raises LocalOpusError."""
    control.restart(host, locations)


def _write(host: Host, locations: Locations, order: TuningOrder, result: Tuned) -> None:
    group = group_of(host, locations)
    ensure(host, locations, planner.tuning_action(locations, order, group, result))


def ensure(host: Host, locations: Locations, action: PlannedAction) -> None:
    """Do what keeps a measurement, journalled, in the folder of the configs."""
    with state.held_if_there(host, locations):
        journal = open_journal(host, locations, held=True)
        applier = Applier(journal)
        folder = planner.config_folder(locations, group_of(host, locations))
        if journal.history.get(folder.id) is None:
            applier.ensure(folder, outside=True)
        # Of no plan: what a failed upgrade takes back is not what a person measured since.
        applier.ensure(action, outside=True)


def group_of(host: Host, locations: Locations) -> str | None:
    """Return the group that may read configs: where one was made for the service."""
    history = whereabouts.receipt(host, locations).history
    made = any(entry.id == "group" and entry.active for entry in history.entries)
    there = host.accounts.group_id(GROUP) is not None
    return GROUP if locations.scope is Scope.SYSTEM and (made or there) else None
