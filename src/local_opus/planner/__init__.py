"""From a profile and what the machine is to the ordered list of actions. Pure: no machine here."""

from __future__ import annotations

from local_opus.locations import GROUP
from local_opus.planner.environment import (
    LOCKS,
    add_command,
    add_environment,
    environment_action,
    lock_of,
    with_environment_anew,
)
from local_opus.planner.folders import add_folders, config_folder, store_folder
from local_opus.planner.listing import Listing, planned
from local_opus.planner.machine import items_of, machine_action, machine_inputs
from local_opus.planner.machine import units as machine_units
from local_opus.planner.monitor import add_baseline, add_monitor
from local_opus.planner.monitor import units as monitor_units
from local_opus.planner.posture import add_lingering, add_posture
from local_opus.planner.request import ProgramFacts, Request
from local_opus.planner.server import (
    SERVER_CONFIGS,
    add_detached,
    add_server,
    add_trial,
    server_units,
)
from local_opus.planner.settings import properties_of, serving_of
from local_opus.planner.tuning import tuning_action
from local_opus.planner.units import Unit, add_start, add_units, digest
from local_opus.planner.weights import (
    add_weights,
    model_folder,
    source_folder,
    variant_name,
    with_license,
)
from local_opus.values import Plan, Scope

__all__ = [
    "LOCKS",
    "SERVER_CONFIGS",
    "ProgramFacts",
    "Request",
    "config_folder",
    "environment_action",
    "items_of",
    "lock_of",
    "machine_action",
    "model_folder",
    "plan",
    "planned",
    "properties_of",
    "serving_of",
    "source_folder",
    "store_folder",
    "tuning_action",
    "variant_name",
    "with_environment_anew",
    "with_license",
]


def plan(request: Request) -> Plan:
    """Return the plan. Raises LocalOpusError where a template can't be rendered."""
    todo = Listing()
    group = GROUP if request.locations.scope is Scope.SYSTEM and request.model else None
    if group is not None:
        todo.add("group", "create_group", name=group)
    add_folders(todo, request, group)
    environment = add_environment(todo, request)
    posture = add_posture(todo, request, group)
    if request.model is not None:
        add_weights(todo, request, request.model)
    serves = request.profile.server.enabled and request.model is not None
    if serves and request.trial_port is not None and not request.is_image:
        add_trial(todo, request, environment, group)
    if request.tuning is not None and not request.is_image:
        todo.actions.append(tuning_action(request.locations, request.tuning, group))
    if request.profile.command.link:
        add_command(todo, request, environment)
    inputs: list[str] = [environment, *posture]
    units: list[Unit] = []
    if serves and request.model is not None:
        inputs += add_server(todo, request, request.model, environment, group)
        units += server_units(request, request.model, environment)
        add_monitor(todo, request, group)
        units += monitor_units(request, environment)
    units += machine_units(request, environment)
    if units:
        inputs += add_units(todo, request, units)
    if request.machine is not None and not request.is_image:
        todo.actions.append(machine_action(request.locations, request.machine, group))
        inputs += machine_inputs(request)
    if units and (request.systemd or request.is_image):
        add_start(todo, request, units, inputs)
    elif serves:
        add_detached(todo, request, environment, inputs)
    add_baseline(todo, request, group, digest(inputs))
    if units:
        add_lingering(todo, request)
    return Plan(
        profile=request.profile.name,
        scope=request.locations.scope,
        root=request.root,
        model=request.model.id if request.model else None,
        device=request.device if request.model else None,
        device_name=request.on if request.model else None,
        reasons=request.reasons if request.model else (),
        memory=request.memory,
        disk=request.disk,
        actions=tuple(todo.actions),
    )
