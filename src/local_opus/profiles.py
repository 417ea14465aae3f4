"""Profiles: what the user wants, read from TOML and validated. Data only.

A key comes into being together with the action that honours it; an unknown key is an error. All
errors of a file, and of the files it extends, are told at once, each with its path.
"""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError

from local_opus import resources
from local_opus.devices.names import AUTO, DeviceWord
from local_opus.errors import BadInputError, did_you_mean
from local_opus.validation import loopback, problems, shown
from local_opus.values import Identifier, Value

#: The profile of an install that names none.
DEFAULT = "military"
#: Seconds until a sick server is started anew, at most: five times that, with the time to load, lie
#: within the unit's StartLimitIntervalSec, so that one that stays sick ends as failed.
MOST_SICK_SECONDS = 300
_REMEDY = "Correct the file; `profiles/local-opus.toml` shows the keys."

ReadFile = Callable[[str], str]
#: Given the name in ``extends`` and the source of the file that says it: the parent's text and
#: source. Raises BadInputError where there is none.
Lookup = Callable[[str, str], tuple[str, str]]


class Table(Value):
    """One table of a profile: types are taken literally, "8000" is no port."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EnvironmentTable(Table):
    """What is installed into the environment."""

    extras: Annotated[tuple[Literal["base", "openvino", "server"], ...], Field(strict=False)] = (
        "base",
    )


class ModelTable(Table):
    """Which model; without an id the best that fits this machine for the use case."""

    id: Identifier | None = None
    use_case: Literal["chat", "coding", "analysis"] = "chat"
    device: DeviceWord = AUTO


class ServerTable(Table):
    """The HTTP server.

    ``cache_size_gb`` is the memory for the context of all running requests; ``max_concurrent`` are
    those that are computed at the same time, ``context`` the tokens that each may have (None: as
    many as the model was made for). What the two come to is told, and asked of the machine, before
    a download.
    """

    enabled: bool = False
    host: Annotated[str, AfterValidator(loopback)] = "127.0.0.1"
    #: Ports below 1024 need rights that the service does not have.
    port: int = Field(default=8000, ge=1024, le=65535)
    max_queue: int = Field(default=64, ge=1, le=10_000)
    max_concurrent: int = Field(default=128, ge=1, le=4096)
    context: int | None = Field(default=None, ge=16, le=16_777_216)
    cache_size_gb: int = Field(default=1, ge=1, le=1024)
    #: Whether the server has no network of its own, and is handed its socket by systemd. Where no
    #: systemd of the system runs it, it opens the port itself.
    private_network: bool = True
    #: In the scope of a user: it goes on without a login, and starts with the machine.
    linger: bool = True


class PostureTable(Table):
    """How the node stands to the network.

    ``offline``: the libraries of its processes are told that there is no hub and no telemetry.
    What a user asks to be fetched is fetched.
    """

    offline: bool = False


class MonitorTable(Table):
    """What looks after the server: every so many seconds, with a canary every so many looks.

    After ``sick_after`` sick looks in a row the server is started anew; ``canary_seconds`` is what
    the canary's whole answer may take.
    """

    enabled: bool = False
    interval_seconds: int = Field(default=30, ge=5, le=300)
    sick_after: int = Field(default=3, ge=1, le=10)
    canary_every: int = Field(default=10, ge=1, le=1000)
    canary_seconds: int = Field(default=60, ge=1, le=600)


class GenerationTable(Table):
    """What a request gets that does not say otherwise."""

    temperature: float = Field(default=0.7, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=0.95, gt=0, le=1, allow_inf_nan=False)
    max_tokens: int = Field(default=1024, ge=1, le=131_072)


class OpenVinoTable(Table):
    """Properties of OpenVINO; what is not set stays as the device's plugin chooses it."""

    performance_hint: Literal["LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT"] = "LATENCY"
    kv_cache_precision: Literal["u8", "u4", "u3", "bf16", "f16", "f32"] | None = None
    inference_precision: Literal["bf16", "f16", "f32", "dynamic"] | None = None
    num_streams: int | None = Field(default=None, ge=1, le=1024)


class TuningTable(Table):
    """Whether OpenVINO's settings are tuned by measurement, what for, and for how long at most.

    Where the environment holds no OpenVINO there is nothing to tune.
    """

    enabled: bool = False
    goal: Literal["latency", "throughput"] = "latency"
    seconds: int = Field(default=30, ge=1, le=600)


class MachineTable(Table):
    """Which of the machine's own settings are measured, and set where they gain.

    ``seconds`` is for all of them, at most. They are measured with OpenVINO: where the environment
    holds none, nothing is set.
    """

    enabled: bool = False
    governor: bool = True
    huge_pages: bool = True
    memory_lock: bool = True
    scheduling: bool = True
    npu_turbo: bool = True
    seconds: int = Field(default=30, ge=1, le=600)


class CommandTable(Table):
    """The ``local-opus`` command on the PATH."""

    link: bool = True


class Profile(Table):
    """What the user wants, with everything that the profile's parents say filled in."""

    name: Identifier
    description: Annotated[str, StringConstraints(pattern=r"\A[^\x00-\x1f\x7f]{1,200}\z")]
    environment: EnvironmentTable = EnvironmentTable()
    model: ModelTable = ModelTable()
    server: ServerTable = ServerTable()
    monitor: MonitorTable = MonitorTable()
    posture: PostureTable = PostureTable()
    generation: GenerationTable = GenerationTable()
    openvino: OpenVinoTable = OpenVinoTable()
    tuning: TuningTable = TuningTable()
    machine: MachineTable = MachineTable()
    command: CommandTable = CommandTable()


class _File(Profile):
    """A profile as one file holds it."""

    extends: str | None = None


def names() -> list[str]:
    """Return the names of the profiles that come with the program, sorted."""
    return [name.removesuffix(".toml") for name in resources.names("profiles")]


def load(name_or_path: str, read_file: ReadFile) -> Profile:
    """Return a profile: by its name, or a file's where the text has a "/" or ends in ".toml".

    ``read_file`` reads a user's file. Raises BadInputError with every error of the file.
    """
    text, source = _lookup(name_or_path, None, read_file)
    return parse(text, source, lambda parent, child: _lookup(parent, child, read_file))


def parse(text: str, source: str, lookup: Lookup) -> Profile:
    """Return the profile of a text. Raises BadInputError with every error of it and its parents."""
    found: list[str] = []
    layers: list[dict[str, Any]] = []
    seen: list[str] = []
    while True:
        seen.append(source)
        data = _toml(text, source, found)
        layers.append(data)
        parent = data.get("extends")
        if not isinstance(parent, str):
            break
        try:
            text, parent_source = lookup(parent, source)
        except BadInputError as error:
            found.append(f"{source}: extends: {error.message}")
            break
        if parent_source in seen:
            found.append(f"{source}: extends: a circle: {' -> '.join([*seen, parent_source])}")
            break
        source = parent_source
    leaf = seen[0]
    if not found:
        merged: dict[str, Any] = {}
        for layer in reversed(layers):
            merged = _merge(merged, layer)
        merged.pop("extends", None)
        profile = Profile.model_validate(merged)
        found += [f"{leaf}: {line}" for line in _contradictions(profile)]
        if not found:
            return profile
    message = found[0] if len(found) == 1 else f"{leaf}: {len(found)} errors"
    raise BadInputError(message, _REMEDY, details=found if len(found) > 1 else ())


def _lookup(name: str, child: str | None, read_file: ReadFile) -> tuple[str, str]:
    """Return text and source of a profile; a path in ``extends`` starts at the child's folder."""
    if "/" not in name and not name.endswith(".toml"):
        known = names()
        if name not in known:
            raise BadInputError(
                f"profile {shown(name)}: there is none of that name.{did_you_mean(name, known)}",
                f"The profiles are: {', '.join(known)}. A file is given with its path.",
            )
        return resources.read("profiles", f"{name}.toml"), f"profiles/{name}.toml"
    path = name if child is None else posixpath.join(posixpath.dirname(child), name)
    path = posixpath.normpath(path)
    try:
        return read_file(path), path
    except OSError as error:
        reason = error.strerror or str(error)
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    raise BadInputError(
        f"profile {shown(path)}: {reason}", "Give a TOML file that you can read, or a name."
    )


def _toml(text: str, source: str, found: list[str]) -> dict[str, Any]:
    """Return a file's tables as far as they can be used; its errors are added to ``found``."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; 5,000 digits; deep nesting
        found.append(f"{source}: not TOML: {error}")
        return {}
    try:
        _File.model_validate(data)
    except ValidationError as error:
        found += [f"{source}: {line}" for line in problems(_File, data, error)]
    return data


def _merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """The child's keys win, table by table; a list is replaced as a whole."""
    merged = dict(parent)
    for key, value in child.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if both and isinstance(below, Mapping) else value
    return merged


def _contradictions(profile: Profile) -> Iterator[str]:
    """What no single key can be blamed for."""
    extras = profile.environment.extras
    if not extras:
        yield 'environment.extras: must hold "base" at least'
    if profile.server.enabled and "server" not in extras:
        yield 'environment.extras: must hold "server" where server.enabled is true'
    monitor = profile.monitor
    if monitor.enabled and not profile.server.enabled:
        yield "monitor.enabled: there is a server to watch only where server.enabled is true"
    if monitor.interval_seconds * monitor.sick_after > MOST_SICK_SECONDS:
        yield (
            f"monitor.sick_after: with interval_seconds at most {MOST_SICK_SECONDS} s together, "
            "or systemd's limit of restarts never comes to hold"
        )
    if profile.model.id is not None and not profile.server.enabled:
        yield "model.id: a model is installed only where server.enabled is true"
