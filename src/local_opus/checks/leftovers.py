"""Whether something lies about that a killed run left, or a dead process holds by its name."""

from __future__ import annotations

from local_opus import node, state
from local_opus.checks.base import Answer, Check, Group, by_doctor, passed, told, warned
from local_opus.checks.context import Context
from local_opus.facts import reading
from local_opus.host import Host
from local_opus.host.files import is_new_name
from local_opus.locations import Locations


def ask(context: Context) -> Answer:
    """Look for PID files of dead processes, half-written files, and folders on their way."""
    host, locations = context.host, context.locations
    if context.at_work():
        return passed("a run is at work now; what it writes is its own")
    found = [f"{path}: {why}" for path, why in leftovers(host, locations)]
    if not found:
        return passed("no PID file of a dead process, nothing half-written")
    evidence, details = told(found, "things were left by killed runs or dead processes")
    return warned(evidence, by_doctor("Have it removed."), details=details, fixable=True)


def leftovers(host: Host, locations: Locations) -> list[tuple[str, str]]:
    """Return the paths of what was left behind, and what each is."""
    found = []
    if _dead(host, locations):
        found.append((locations.pid_file, "names a process that has ended"))
    prefix = locations.prefix
    folders = (
        *(locations.config, prefix, f"{prefix}/bin"),
        *(locations.state, locations.credentials, locations.units, locations.runtime),
    )
    found += [
        (f"{folder}/{name}", "half-written by a killed run")
        for folder in folders
        for name in reading.names(host, folder)
        if is_new_name(name)
    ]
    ways = state.on_the_way(host, locations)
    found += [(path, "a killed run's folder on its way") for path in ways]
    return found


def _dead(host: Host, locations: Locations) -> bool:
    try:
        there = host.files.stat(locations.pid_file) is not None
    except PermissionError:
        return False
    if not there:
        return False
    running = node.serving(host, locations)
    return running is None or running.how != "detached"


CHECK = Check("leftovers", "leftovers", Group.INSTALL, ask)
