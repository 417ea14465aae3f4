"""From a profile and what the machine is to the ordered list of actions. Pure: no machine here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from local_opus.actions import build
from local_opus.catalog.needs import Serving, serving_memory
from local_opus.interpreter import Interpreter
from local_opus.locations import GROUP, UNIT, Locations
from local_opus.profiles import Profile
from local_opus.render import render
from local_opus.values import Device, DiskFit, MemoryFit, Model, Plan, PlannedAction, Scope
from local_opus.values.tuning import Tuned, TuningOrder
from local_opus.weights.store import variant_names

#: The strongest extra that a profile asks for names the lock; each lock holds the weaker ones too.
LOCKS = {
    "server": "requirements-server.lock",
    "openvino": "requirements-openvino.lock",
    "base": "requirements.lock",
}
SERVER_CONFIGS = ("model.json", "generation.json", "openvino.json", "server.json")
SCRIPTS = ("start_local_opus.sh", "monitor_opus_servers.sh", "launch_local_system.sh")


@dataclass(frozen=True)
class ProgramFacts:
    """What goes into an environment: digests of the locks (by file name) and of the program."""

    locks: Mapping[str, str]
    program_sha256: str
    python: Interpreter


@dataclass(frozen=True)
class Request:
    """What is wanted of which machine. ``templates`` maps file names to texts."""

    profile: Profile
    model: Model | None
    device: Device | None
    locations: Locations
    root: str
    is_image: bool
    systemd: bool
    program: ProgramFacts
    templates: Mapping[str, str]
    port: int
    #: Try the new server here before it takes the place of the one that serves; None: don't.
    trial_port: int | None = None
    #: What is to be tuned; None: nothing.
    tuning: TuningOrder | None = None
    #: OpenVINO's name of the device, e.g. GPU.1; None: the device's own.
    device_name: str | None = None
    #: Why model and device are these.
    reasons: tuple[str, ...] = ()
    memory: MemoryFit | None = None
    disk: DiskFit | None = None

    @property
    def on(self) -> str:
        """The device in OpenVINO's words."""
        return self.device_name or (self.device or Device.CPU).value


class _List:
    """Collects actions; each says itself what it does."""

    def __init__(self) -> None:
        self.actions: list[PlannedAction] = []

    def add(self, id_: str, kind: str, **params: JsonValue) -> None:
        self.actions.append(planned(id_, kind, params))


def planned(
    id_: str, kind: str, params: dict[str, JsonValue], *, transient: bool = False
) -> PlannedAction:
    """Return an action of a plan; it says itself what it does."""
    summary = build(kind, params).summary()
    return PlannedAction(id=id_, kind=kind, summary=summary, params=params, transient=transient)


def plan(request: Request) -> Plan:
    """Return the plan. Raises LocalOpusError where a template can't be rendered."""
    todo = _List()
    group = GROUP if request.locations.scope is Scope.SYSTEM and request.model else None
    if group is not None:
        todo.add("group", "create_group", name=group)
    _folders(todo, request, group)
    environment = _environment(todo, request)
    if request.model is not None:
        _weights(todo, request, request.model)
    serves = request.profile.server.enabled and request.model is not None
    if serves and request.trial_port is not None and not request.is_image:
        _trial(todo, request, environment, group)
    if request.tuning is not None and not request.is_image:
        todo.actions.append(tuning_action(request.locations, request.tuning, group))
    if request.profile.command.link:
        _command(todo, request, environment)
    if request.profile.server.enabled and request.model is not None:
        _server(todo, request, request.model, environment, group)
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


def _folders(todo: _List, request: Request, group: str | None) -> None:
    places = request.locations
    # No mode: the folder is others' too, and stays as it is where it is there.
    todo.actions.append(_folder("prefix", places.prefix, 0o755))
    if request.profile.command.link:
        todo.actions.append(_folder("bin", f"{places.prefix}/bin", 0o755))
        todo.actions.append(_folder("commands", places.commands, None))
    if request.model is not None:
        todo.actions.append(store_folder(places))
    if request.model is not None or request.tuning is not None:
        todo.actions.append(config_folder(places, group))
    if request.profile.server.enabled:
        if not request.systemd:  # it keeps PID and log itself, and /run is empty after a boot
            todo.actions.append(_folder("runtime", places.runtime, 0o755))
            todo.actions.append(_folder("logs", places.logs, 0o750))
        todo.actions.append(_folder("units", places.units, None))


def _folder(name: str, path: str, mode: int | None, group: str | None = None) -> PlannedAction:
    params: dict[str, JsonValue] = {"path": path, "mode": mode, "group": group}
    return planned(f"folder:{name}", "create_folder", params)


def store_folder(locations: Locations) -> PlannedAction:
    """Return the action that makes the store, also for a model that comes without an install."""
    return _folder("models", locations.models, 0o755)


def config_folder(locations: Locations, group: str | None) -> PlannedAction:
    """Return the action that makes the folder of the configs."""
    return _folder("config", locations.config, 0o750 if group else 0o700, group)


def lock_of(profile: Profile) -> str:
    """Return the file name of the lock that a profile's extras need."""
    return next(lock for extra, lock in LOCKS.items() if extra in profile.environment.extras)


def _environment(todo: _List, request: Request) -> str:
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


def with_license(former: Plan, license_id: str) -> Plan:
    """Return the plan whose fetch records that the user accepted this licence."""
    actions = (
        one.model_copy(update={"params": {**one.params, "license_accepted": license_id}})
        if one.kind == "fetch_weights"
        else one
        for one in former.actions
    )
    return former.model_copy(update={"actions": tuple(actions)})


def _weights(todo: _List, request: Request, model: Model) -> None:
    data = model.model_dump(mode="json")
    device = request.device or Device.CPU
    todo.add(
        "weights",
        "fetch_weights",
        model=data,
        store=request.locations.models,
    )
    if model.format == "gguf":
        todo.add(
            "variant",
            "convert_weights",
            model=data,
            store=request.locations.models,
            device=device.value,
        )


def tuning_action(
    locations: Locations, order: TuningOrder, group: str | None, result: Tuned | None = None
) -> PlannedAction:
    """Return the action that tunes, or that keeps what `tune` measured."""
    params: dict[str, JsonValue] = {
        "path": locations.tuned,
        "order": order.model_dump(mode="json"),
        "mode": 0o640 if group else 0o600,
        "group": group,
    }
    if result is not None:
        params["result"] = result.model_dump(mode="json")
    return planned("tuning", "tune_openvino", params)


def _tuning_inputs(request: Request) -> str:
    """Return what a server is started anew for: it reads what was tuned when it starts."""
    if request.tuning is None:
        return ""
    order = request.tuning
    return order.model_dump_json(include={"goal", "device", "device_name", "driver", "openvino"})


def _write(
    todo: _List, request: Request, id_: str, path: str, template: str, values: Mapping[str, object],
    *, mode: int, group: str | None = None,
) -> str:  # fmt: skip
    content = render(template, request.templates[template], values)
    todo.add(id_, "write_file", path=path, content=content, mode=mode, group=group)
    return content


def _command(todo: _List, request: Request, environment: str) -> None:
    path = f"{request.locations.prefix}/bin/local-opus"
    values = {
        "python": f"{environment}/bin/python",
        "scope": request.locations.scope.value,
        "state": request.locations.state,
        "address": f"{request.profile.server.host}:{request.port}",
    }
    _write(todo, request, "command", path, "local-opus.sh.j2", values, mode=0o755)
    link = f"{request.locations.commands}/local-opus"
    todo.add("link", "link_command", path=link, target=path)


def model_folder(locations: Locations, model: Model, device: Device) -> str:
    """Return the folder of the variant that the server loads."""
    return f"{locations.models}/{model.id}/{variant_name(model, device)}"


def properties_of(profile: Profile) -> dict[str, JsonValue]:
    """OpenVINO's names for a profile's settings (openvino/runtime/properties)."""
    named: dict[str, JsonValue] = {
        "PERFORMANCE_HINT": profile.openvino.performance_hint,
        "KV_CACHE_PRECISION": profile.openvino.kv_cache_precision,
        "INFERENCE_PRECISION_HINT": profile.openvino.inference_precision,
        "NUM_STREAMS": profile.openvino.num_streams,
    }
    return {name: value for name, value in named.items() if value is not None}


def serving_of(profile: Profile) -> Serving:
    """Return the requests and the context that a profile's server allows."""
    return Serving(
        requests=profile.server.max_concurrent,
        context=profile.server.context,
        cache_size_gb=profile.server.cache_size_gb,
        kv_precision=profile.openvino.kv_cache_precision,
    )


def _context(profile: Profile, model: Model) -> int | None:
    """Return the tokens that the model's config states; None: the weights' manifest says them."""
    stated = (profile.server.context, model.context_length)
    return min((tokens for tokens in stated if tokens is not None), default=None)


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
        "context_length": _context(profile, model),
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
        "service": places.unit.removesuffix(".service"),
    }


def _server(
    todo: _List, request: Request, model: Model, environment: str, group: str | None
) -> None:
    places = request.locations
    values = _server_values(request, model, environment, places, request.port)
    written = [environment]
    mode = 0o640 if group else 0o600
    for name in SERVER_CONFIGS:
        path = f"{places.config}/{name}"
        written.append(
            _write(
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
        _write(todo, request, f"script:{script}", path, f"{script}.j2", values, mode=0o755)
    unit = _unit(request, values)
    path = f"{places.units}/{UNIT}"
    todo.add(
        "unit",
        "install_unit",
        path=path,
        content=unit,
        mode=0o644,
        scope=places.scope.value,
    )
    written.append(unit)
    if tuning := _tuning_inputs(request):
        written.append(tuning)
    if not request.is_image:
        _start(todo, request, environment, "\0".join(written))


def _unit(request: Request, values: Mapping[str, object]) -> str:
    return render(f"{UNIT}.j2", request.templates[f"{UNIT}.j2"], values)


def _serve_command(environment: str, places: Locations) -> list[JsonValue]:
    """Return the command of a server that runs without systemd."""
    return [
        f"{environment}/bin/python",
        *("-s", "-P", "-m", "local_opus.serve"),
        *("--config", places.server_config),
    ]


def _start(todo: _List, request: Request, environment: str, inputs: str) -> None:
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    scope = request.locations.scope.value
    if request.systemd:
        todo.add("server", "enable_service", scope=scope, inputs_sha256=digest)
        return
    command = _serve_command(environment, request.locations)
    todo.add("server", "start_server", scope=scope, command=command, inputs_sha256=digest)


def _trial(todo: _List, request: Request, environment: str, group: str | None) -> None:
    model, port = request.model, request.trial_port
    if model is None or port is None:
        return
    places = request.locations.trial
    values = _server_values(request, model, environment, places, port)
    params: dict[str, JsonValue] = {
        "scope": places.scope.value,
        "configs": {
            name: render(f"{name}.j2", request.templates[f"{name}.j2"], values)
            for name in SERVER_CONFIGS
        },
        "group": group,
        "unit": _unit(request, values) if request.systemd else None,
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


def variant_name(model: Model, device: Device) -> str:
    """Return the variant's name, e.g. cpu-q4_1: one format of the model for one device."""
    return variant_names(model, device).served


def source_folder(locations: Locations, model: Model) -> str:
    """Return the folder of the files as they were fetched."""
    return f"{locations.models}/{model.id}/{variant_names(model, Device.CPU).source}"
