"""The environment, and the command that runs in it."""

from __future__ import annotations

import hashlib

from local_opus.locations import Locations
from local_opus.planner.listing import Listing, planned, write_file
from local_opus.planner.posture import variables
from local_opus.planner.request import ProgramFacts, Request
from local_opus.profiles import Profile
from local_opus.values import Plan, PlannedAction

#: The strongest extra that a profile asks for names the lock; each lock holds the weaker ones too.
LOCKS = {
    "server": "requirements-server.lock",
    "openvino": "requirements-openvino.lock",
    "base": "requirements.lock",
}


def lock_of(profile: Profile) -> str:
    """Return the file name of the lock that a profile's extras need."""
    return next(lock for extra, lock in LOCKS.items() if extra in profile.environment.extras)


def add_environment(todo: Listing, request: Request) -> str:
    """Add the environment and return its folder."""
    action = environment_action(request.profile, request.locations, request.program)
    todo.actions.append(action)
    return str(action.params["folder"])


def environment_action(
    profile: Profile, locations: Locations, program: ProgramFacts
) -> PlannedAction:
    """Return the action that makes the environment; its name changes with all that goes into it."""
    lock = lock_of(profile)
    inputs = f"{program.locks[lock]} {program.program_sha256} {program.python}"
    name = hashlib.sha256(inputs.encode()).hexdigest()[:12]
    return planned(
        f"environment:{name}",
        "create_environment",
        {
            "folder": f"{locations.prefix}/env-{name}",
            "lock": lock,
            "lock_sha256": program.locks[lock],
            "program_sha256": program.program_sha256,
            "interpreter": program.python.path,
            "python": program.python.version,
        },
    )


def with_environment_anew(former: Plan) -> Plan:
    """Return the plan with an environment that is made anew, whatever is there in its place."""
    actions = (
        one.model_copy(update={"params": {**one.params, "anew": True}})
        if one.kind == "create_environment"
        else one
        for one in former.actions
    )
    return former.model_copy(update={"actions": tuple(actions)})


def add_command(todo: Listing, request: Request, environment: str) -> None:
    """Add the `local-opus` command and its link."""
    path = f"{request.locations.prefix}/bin/local-opus"
    values = {
        "python": f"{environment}/bin/python",
        "scope": request.locations.scope.value,
        "state": request.locations.state,
        "address": f"{request.profile.server.host}:{request.port}",
        "posture": variables(request),
    }
    write_file(todo, request, "command", path, "local-opus.sh.j2", values, mode=0o755)
    link = f"{request.locations.commands}/local-opus"
    todo.add("link", "link_command", path=link, target=path)
