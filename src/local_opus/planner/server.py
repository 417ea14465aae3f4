"""The server: its configs, scripts, unit, its start without systemd, and a trial of a new one."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus.catalog.needs import serving_memory
from local_opus.locations import (
    FAILED_UNIT,
    GROUP,
    SERVER_STATE,
    SOCKET_UNIT,
    TRIAL_UNIT,
    UNIT,
    Locations,
)
from local_opus.planner.listing import Listing, planned, write_file
from local_opus.planner.request import Request
from local_opus.planner.settings import context_length, properties_of, serving_of
from local_opus.planner.tuning import tuning_inputs
from local_opus.planner.units import SERVICE, Unit, digest, unit_text
from local_opus.planner.weights import model_folder
from local_opus.render import render
from local_opus.values import Device, Model

SERVER_CONFIGS = ("model.json", "generation.json", "openvino.json", "server.json")
#: What a trial of a new server writes into.
TRIAL_STATE = TRIAL_UNIT.removesuffix(".service")
SCRIPTS = ("start_local_opus.sh", "monitor_opus_servers.sh", "launch_local_system.sh")


def _server_values(
    request: Request, model: Model, environment: str, places: Locations, port: int
) -> dict[str, object]:
    """Return what the templates of the server, its unit and its scripts are rendered with."""
    profile = request.profile
    device = request.device or Device.CPU
    return {
        "model": model,
        "model_folder": model_folder(places, model, device),
        "device": request.on,
        "context_length": context_length(profile, model),
        "generation": profile.generation,
        "cache_size_gb": profile.server.cache_size_gb,
        "properties": properties_of(profile),
        "server": {
            "host": profile.server.host,
            "port": port,
            "max_concurrent": profile.server.max_concurrent,
            "max_queue": profile.server.max_queue,
        },
        "config": places.config,
        "python": f"{environment}/bin/python",
        "server_config": places.server_config,
        "command": f"{places.prefix}/bin/local-opus",
        "scope": places.scope.value,
        "group": GROUP,
        "device_groups": () if device is Device.CPU else request.device_groups,
        "state": SERVER_STATE,
    }


def add_server(
    todo: Listing, request: Request, model: Model, environment: str, group: str | None
) -> list[str]:
    """Add what the server reads, and the scripts; return all that it is started anew for."""
    places = request.locations
    values = _server_values(request, model, environment, places, request.port)
    written = []
    mode = 0o640 if group else 0o600
    for name in SERVER_CONFIGS:
        path = f"{places.config}/{name}"
        written.append(
            write_file(
                todo,
                request,
                f"config:{name.removesuffix('.json')}",
                path,
                f"{name}.j2",
                values,
                mode=mode,
                group=group,
            )
        )
    for script in SCRIPTS:
        path = f"{places.prefix}/bin/{script}"
        write_file(todo, request, f"script:{script}", path, f"{script}.j2", values, mode=0o755)
    if tuning := tuning_inputs(request):
        written.append(tuning)
    return written


def server_units(request: Request, model: Model, environment: str) -> list[Unit]:
    """Return the server's unit, and those that listen for it."""
    values = _server_values(request, model, environment, request.locations, request.port)
    private = request.private_network
    service = Unit(UNIT, {**values, "trial": False, "private_network": private})
    if not private:
        return [service]
    host = request.profile.server.host
    listen = f"[{host}]:{request.port}" if ":" in host else f"{host}:{request.port}"
    return [Unit(SOCKET_UNIT, {"listen": listen}), Unit(FAILED_UNIT, {}), service]


def _serve_command(environment: str, places: Locations) -> list[JsonValue]:
    """Return the command of a server that runs without systemd."""
    return [
        f"{environment}/bin/python",
        *("-s", "-P", "-m", "local_opus.serve"),
        *("--config", places.server_config),
    ]


def add_detached(todo: Listing, request: Request, environment: str, inputs: list[str]) -> None:
    """Add the start of a server that runs without systemd."""
    command = _serve_command(environment, request.locations)
    todo.add(
        SERVICE,
        "start_server",
        scope=request.locations.scope.value,
        command=command,
        inputs_sha256=digest(inputs),
    )


def add_trial(todo: Listing, request: Request, environment: str, group: str | None) -> None:
    """Add the trial of the new server beside the old one."""
    model, port = request.model, request.trial_port
    if model is None or port is None:
        return
    places = request.locations.trial
    values = _server_values(request, model, environment, places, port)
    trial = Unit(UNIT, {**values, "state": TRIAL_STATE, "trial": True, "private_network": False})
    params: dict[str, JsonValue] = {
        "scope": places.scope.value,
        "configs": {
            name: render(f"{name}.j2", request.templates, values) for name in SERVER_CONFIGS
        },
        "group": group,
        "unit": unit_text(request, trial) if request.systemd else None,
        "command": _serve_command(environment, places),
        "model": model.model_dump(mode="json"),
        "model_folder": str(values["model_folder"]),
        "device": request.on,
        "port": port,
        "memory": serving_memory(model, serving_of(request.profile)),
        "config": places.config,
        "runtime": places.runtime,
        "logs": places.logs,
        "units": places.units,
    }
    todo.actions.append(planned("trial", "try_server", params, transient=True))
