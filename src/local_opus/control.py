"""Start, stop and look at the installed server, under systemd or detached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from local_opus import fallback, node, node_settings, node_status, node_units, whereabouts
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.actions.enable_service import EnableService
from local_opus.asking import require_answer
from local_opus.errors import BadInputError, KeyNeededError, LocalOpusError, SilentSystemdError
from local_opus.history import Event
from local_opus.host import Host
from local_opus.keys import store
from local_opus.locations import UNIT, Locations
from local_opus.machine import service, standing
from local_opus.receipts import Receipt
from local_opus.sandbox import asking
from local_opus.server.settings import Settings


def server_command(host: Host, locations: Locations) -> list[str]:
    """Return the command that the receipt recorded for the server of this install.

    Raises LocalOpusError where it is a service, which is systemd's to start, or there is none.
    """
    history = Receipt(host, locations.receipt).history
    for entry in history.entries:
        if entry.id == "server":
            command = entry.params.get("command")
            if isinstance(command, list):
                return [str(word) for word in command]
            raise LocalOpusError(
                f"{UNIT}: the server is a service, and no systemd runs here to start it",
                "Start it where systemd runs, or install again to have it without.",
            )
    raise LocalOpusError(
        f"{locations.receipt}: no server was installed",
        "Run `local-opus install --local-opus` first.",
    )


def require_known(host: Host, locations: Locations) -> None:
    """Raise SilentSystemdError where the server is a service of a systemd that does not answer."""
    try:
        require_answer(host, locations.scope)
    except SilentSystemdError:
        entries = Receipt(host, locations.receipt).history.entries
        if any(entry.kind == EnableService.kind and entry.active for entry in entries):
            raise


def use_installed_workers(host: Host, locations: Locations) -> None:
    """Run workers in the installed environment, where there is one: it has all native libraries.

    The installer's own has OpenVINO for detection alone. Without rights to read the receipt, and
    for an image, workers run where this program does.
    """
    if host.is_image:
        return
    try:
        entries = Receipt(host, locations.receipt).history.entries
    except PermissionError:
        return
    for entry in reversed(entries):
        if entry.kind == CreateEnvironment.kind and entry.status is not Event.BEGIN:
            python = f"{entry.params['folder']}/bin/python"
            if host.files.stat(python) is not None:
                host.processes.worker_python = host.files.real_path(python)
                return


@dataclass(frozen=True)
class Started:
    """A server that is ready: whether it ran before, where it listens, what ``/ready`` says."""

    already: bool
    where: Settings
    answer: Mapping[str, object]


def start(host: Host, locations: Locations, progress: Callable[[float], None]) -> Started | None:
    """Start the node and wait for its server; None: it has none.

    Raises LocalOpusError when nothing is installed, the port is taken or it does not come up.
    """
    whereabouts.require_state(host, locations)
    require_known(host, locations)
    managed = host.services.running(locations.scope)
    units = node_units.there(host, locations) if managed else []
    if units and (server := node_units.server_unit(host, locations)) not in units:
        if host.files.stat(locations.server_config) is not None:
            raise LocalOpusError(
                f"{locations.units}/{server}: not there, and the server is started by it",
                "Install again: that writes it.",
            )
        node_units.start(host, locations, progress)
        return None
    where = fallback.settings(host, locations)
    if where.keys == "required":
        store.require_there(host, locations)
    already = node.serving(host, locations) is not None
    if not already:
        node.require_free_port(host, locations, where.host, where.port)
    if units:
        node_units.start(host, locations, progress)  # what else there is, too
    elif not already:
        node.start_detached(host, locations, server_command(host, locations))
    ready = node.wait_ready(host, locations, where, progress, tolerant=True)
    return Started(already, where, ready)


def stop(host: Host, locations: Locations) -> node.Serving | None:
    """Stop the node; return the server that ran, None where none did. Raises LocalOpusError."""
    whereabouts.require_state(host, locations)
    require_known(host, locations)
    running = node.serving(host, locations)
    if running is not None and running.how == "detached":
        node.stop(host, locations, running)
    else:  # of one that crashed, what was set of the machine may still be
        service.stop_beside(host, locations)
    if host.services.running(locations.scope):
        node_units.stop(host, locations)
    return running


def restart(host: Host, locations: Locations) -> None:
    """Start the server anew where one runs; where systemd listens for it, clients wait meanwhile.

    Raises LocalOpusError as ``start``.
    """
    running = node.serving(host, locations)
    if running is None:
        return
    if running.how == "detached":
        stop(host, locations)
        start(host, locations, lambda _waited: None)
        return
    node_units.restart_server(host, locations)
    node.wait_ready(host, locations, node_settings.settings(host, locations), lambda _waited: None)


def pause(host: Host, locations: Locations) -> None:
    """Stop what keeps the machine busy, for a measurement; its own tuning stays."""
    running = node.serving(host, locations)
    if running is not None and running.how == "detached":
        node.stop(host, locations, running)
    elif running is not None:
        node_units.pause(host, locations)


def status(host: Host, locations: Locations) -> dict[str, JsonValue]:
    """Return what is installed, what runs and what the server says, as plain data.

    Raises LocalOpusError where that can't be known.
    """
    require_known(host, locations)
    return _status_of_server(host, locations) | node_status.told(host, locations)


def _status_of_server(host: Host, locations: Locations) -> dict[str, JsonValue]:
    try:
        whereabouts.require_state(host, locations)
        where = node_settings.settings(host, locations)
    except LocalOpusError as error:
        if isinstance(error.__cause__, PermissionError):
            own = isinstance(error, node_settings.ClosedToOwnerError)
            told = {"problem": error.message, "fix": error.remedy} if own else {}
            return {**_status_from_outside(host, locations), **told}
        return _status_without_settings(host, locations, error)
    running = node.serving(host, locations)
    ready: Mapping[str, object] | None = None
    hidden: dict[str, JsonValue] = {}
    if running is not None:
        ready, hidden = _ask(host, where.host, where.port)
    systemd = running.how == "systemd" if running else host.services.running(locations.scope)
    return {
        "installed": True,
        "scope": locations.scope.value,
        "running": running is not None,
        "ready": None if hidden else ready is not None,
        "pid": running.pid if running else None,
        "how": running.how if running else None,
        "url": f"http://{where.host}:{where.port}",
        "model": where.model,
        "device": where.device,
        "weights": where.model_folder,
        "tuned": node_settings.tuning(host, locations),
        "config": locations.server_config,
        "log": node_units.server_unit(host, locations) if systemd else locations.server_log,
        "keys": where.keys,
        **_of_answer(ready),
        "units": units_of(host, locations),
        "machine": _machine(host, locations, where.device),
        "sandbox": asking.tell(host, locations, running, where.host, where.port),
        **hidden,
    }


def _of_answer(ready: Mapping[str, object] | None) -> dict[str, JsonValue]:
    """Return what the server says of its config, and of the engine's last end."""
    said = {"config_problem": "config_problem", "engine_ended": "engine_last_end"}
    given = {} if ready is None else ready
    return {key: str(given[name]) if given.get(name) else None for key, name in said.items()}


def units_of(host: Host, locations: Locations) -> list[JsonValue]:
    """Return how each unit stands, and of one that has failed the reason, as plain data."""
    return [
        {
            "name": one.name,
            "active": one.active,
            "sub": one.sub,
            "enabled": one.enabled,
            "restarts": one.restarts,
            "drop_ins": [*one.drop_ins],
            "reason": one.reason,
        }
        for one in node_units.standings(host, locations)
    ]


def _ask(
    host: Host, address: str, port: int
) -> tuple[Mapping[str, object] | None, dict[str, JsonValue]]:
    """Return what the server says of itself, and why it says nothing to who has no right key."""
    try:
        return node.ask_ready(host, address, port), {}
    except KeyNeededError as error:
        return None, {"problem": error.message, "fix": error.remedy}


def _status_without_settings(
    host: Host, locations: Locations, error: LocalOpusError
) -> dict[str, JsonValue]:
    """Return what can be known where there is no config, or one that says what can't be."""
    running = node.serving(host, locations)
    is_there = host.files.stat(locations.server_config) is not None
    found: dict[str, JsonValue] = {}
    if running is not None and isinstance(error, BadInputError):
        found = _status_of_last_good(host, locations)
    return {
        "installed": is_there or isinstance(error, BadInputError),  # elsewhere: so it says
        "scope": locations.scope.value,
        "running": running is not None,
        "ready": None,
        "pid": running.pid if running else None,
        "how": running.how if running else None,
        "units": units_of(host, locations),
        "problem": error.message,
        "fix": error.remedy,
        "machine": _machine(host, locations, None),
        **found,
    }


def _status_of_last_good(host: Host, locations: Locations) -> dict[str, JsonValue]:
    """Return what a server says that runs with its last good settings, where it can be found."""
    for address, port in fallback.addresses(host, locations):
        ready, hidden = _ask(host, address, port)
        if ready is not None or hidden:
            model = None if ready is None else str(ready["model"])
            found: dict[str, JsonValue] = {
                "ready": None if ready is None else True,
                "url": f"http://{address}:{port}",
                "model": model,
            }
            return found | _of_answer(ready)
    return {}


def _machine(host: Host, locations: Locations, device: str | None) -> JsonValue:
    """Return what stands of the machine's own settings; None: nothing is to be set."""
    try:
        found = standing.report(host, locations, device)
    except PermissionError as error:
        found = standing.untold(f"{error.filename or locations.machine}: closed to this user")
    return None if found is None else found.model_dump(mode="json")


def _status_from_outside(host: Host, locations: Locations) -> dict[str, JsonValue]:
    """Return what a user who may not read the config can know: what the server itself says."""
    address, port = node_settings.address(host, locations)
    found: dict[str, JsonValue] = {
        "installed": True,
        "scope": locations.scope.value,
        "pid": None,
        "how": None,
        "url": f"http://{address}:{port}",
        "units": units_of(host, locations),
        "model": None,
    }
    ready, hidden = _ask(host, address, port)
    if hidden:
        return {**found, **hidden, "running": True, "ready": None, "keys": "required"}
    up = ready is not None
    model = None if ready is None else str(ready["model"])
    return {**found, "running": up, "ready": up, "model": model}
