"""The server's config files, as an install writes them, put together to its settings.

``server.json`` names the three of the model: what it is, how it generates, and OpenVINO's
properties. Beside it lie
``tuned.json`` and ``machine.json`` where this machine was tuned. All are JSON, so that an
admin can edit each for itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, ValidationError

from local_opus.devices.names import ServedDevice
from local_opus.errors import BadInputError
from local_opus.machine import decided
from local_opus.server.settings import HostName, Origin, Settings
from local_opus.tuning import tuned
from local_opus.validation import loopback, parse_json
from local_opus.values import Value
from local_opus.values.keys import KeysFile
from local_opus.values.tuning import Tuned

AbsolutePath = Annotated[str, StringConstraints(pattern=r"\A/[^\x00]*\z", max_length=4096)]
_Config = TypeVar("_Config", bound=Value)
_REMEDY = "Correct the file, or remove it and install again to have it written."


@dataclass(frozen=True)
class WeightsFacts:
    """What a weights manifest says of itself: its digest, and the context length in tokens."""

    manifest_sha256: str
    context_length: int | None


class ServerFile(Value):
    """``server.json``: where the server listens, and the model's three configs."""

    schema_version: Literal[1]
    #: The posture: this machine alone.
    host: Annotated[str, AfterValidator(loopback)]
    #: Not 0, any free one: nobody who reads it would know where to ask.
    port: int = Field(ge=1, le=65535)
    max_queue: int
    #: Files of former versions don't have it.
    max_concurrent: int = 128
    lock_memory: bool = False
    #: Who else may call than programs and pages of this machine, e.g. through a proxy; see
    #: ``server.guards``.
    allowed_hosts: tuple[HostName, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    model_config_path: AbsolutePath = Field(alias="model_config")
    generation_config: AbsolutePath
    openvino_config: AbsolutePath


class ModelFile(Value):
    """``model.json``: what runs. ``context_length`` null: the weights manifest says it."""

    schema_version: Literal[1]
    model: str
    name: str
    quantization: str
    license: str
    prompt_format: str | None
    folder: AbsolutePath
    device: ServedDevice
    context_length: int | None


class GenerationFile(Value):
    """``generation.json``: what a request gets that does not say otherwise."""

    schema_version: Literal[1]
    temperature: float
    top_p: float
    max_tokens: int | None


class OpenVinoFile(Value):
    """``openvino.json``: properties for the device's plugin, and the KV cache in GiB."""

    schema_version: Literal[1]
    cache_size_gb: int
    properties: dict[str, JsonValue]


def load(
    read: Callable[[str], str],
    path: str,
    weights: Callable[[str], WeightsFacts],
    runtime: Callable[[], str | None] = lambda: None,
) -> Settings:
    """Return the settings of ``server.json`` at ``path`` and of the files that it names.

    ``read`` returns a file's text and raises OSError; ``weights`` tells what the manifest of a
    model folder says, ``runtime`` the version of OpenVINO: what was tuned for another is not used.
    Raises BadInputError that names the file and field.
    """
    server = _file(ServerFile, read, path)
    model = _file(ModelFile, read, server.model_config_path)
    generation = _file(GenerationFile, read, server.generation_config)
    properties = _file(OpenVinoFile, read, server.openvino_config)
    proven = weights(model.folder)
    stated = (model.context_length, proven.context_length)
    tokens = min((one for one in stated if one is not None), default=None)
    if tokens is None:
        raise BadInputError(
            f"{server.model_config_path}: context_length: neither given nor told by the weights",
            "Write the model's context length there, in tokens.",
        )
    document: dict[str, object] = {
        "schema_version": 1,
        "host": server.host,
        "port": server.port,
        "allowed_hosts": server.allowed_hosts,
        "allowed_origins": server.allowed_origins,
        "max_queue": server.max_queue,
        "max_concurrent": server.max_concurrent,
        "lock_memory": server.lock_memory or _locks_memory(read, path),
        "model": model.model,
        "model_folder": model.folder,
        "weights_digest": proven.manifest_sha256,
        "device": model.device,
        "context_length": tokens,
        "cache_size_gb": properties.cache_size_gb,
        "openvino": properties.properties,
        "generation": generation.model_dump(exclude={"schema_version"}),
        "keys": "required" if keys_required(read, keys_path(path)) else "none",
    }
    document |= _tuned_settings(read, path, model, properties, proven, runtime)
    files = {
        "model": server.model_config_path,
        "generation": server.generation_config,
        "openvino": server.openvino_config,
    }
    try:
        return Settings.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        lines = [
            f"{_place('.'.join(map(str, detail['loc'])), path, files)}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        ]
    raise BadInputError(lines[0], _REMEDY, details=lines[1:])


def tuned_path(path: str) -> str:
    """Return the path of ``tuned.json`` beside the ``server.json`` at ``path``."""
    return f"{path.rpartition('/')[0]}/{tuned.NAME}"


def keys_path(path: str) -> str:
    """Return the path of ``keys.json`` beside the ``server.json`` at ``path``."""
    return f"{path.rpartition('/')[0]}/keys.json"


def keys_required(read: Callable[[str], str], path: str) -> bool:
    """Return whether ``keys.json`` at ``path`` wants keys; where there is none, it does not.

    ``read`` and what is raised are as for ``load``.
    """
    try:
        text = read(path)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or str(error)).lower()}", _REMEDY) from error
    return parse_json(KeysFile, text, path, _REMEDY).required


@dataclass(frozen=True)
class TunedState:
    """What was tuned, and why it is not used; None: it is."""

    tuned: Tuned
    unused: str | None


def read_tuned(
    read: Callable[[str], str],
    path: str,
    weights: Callable[[str], WeightsFacts],
    runtime: Callable[[], str | None],
) -> TunedState | None:
    """Return what ``tuned.json`` holds for the server of ``path``; None: there is none.

    As ``load``.
    """
    model = _file(ModelFile, read, _file(ServerFile, read, path).model_config_path)
    return _tuned_state(read, path, model, weights(model.folder), runtime)


def _tuned_state(
    read: Callable[[str], str],
    path: str,
    model: ModelFile,
    proven: WeightsFacts,
    runtime: Callable[[], str | None],
) -> TunedState | None:
    text = _read_beside(read, tuned_path(path))
    if text is None:
        return None
    found = tuned.parse(text, tuned_path(path))
    unused = tuned.mismatch(
        found,
        model=model.model,
        weights_sha256=proven.manifest_sha256,
        device=model.device,
        openvino=runtime(),
    )
    return TunedState(found, unused)


def _tuned_settings(
    read: Callable[[str], str],
    path: str,
    model: ModelFile,
    untuned: OpenVinoFile,
    proven: WeightsFacts,
    runtime: Callable[[], str | None],
) -> dict[str, object]:
    """Return the fields of the settings that tuning sets."""
    state = _tuned_state(read, path, model, proven, runtime)
    if state is None or state.unused is not None:
        return {}
    found = state.tuned
    named = {"max_num_seqs": "max_concurrent", "enable_prefix_caching": "prefix_caching"}
    scheduler = {named.get(name, name): value for name, value in found.chosen.scheduler.items()}
    properties = tuned.effective(untuned.properties, found.base, found.chosen)
    return {**scheduler, "openvino": properties}


def _locks_memory(read: Callable[[str], str], path: str) -> bool:
    """Whether locking the engine's memory gained here, as machine.json beside says."""
    beside = f"{path.rpartition('/')[0]}/{decided.NAME}"
    text = _read_beside(read, beside)
    item = None if text is None else decided.parse(text, beside).item("memory-lock")
    return item is not None and item.decision == "chosen"


def _read_beside(read: Callable[[str], str], path: str) -> str | None:
    """Return the text of a file that need not be there. Raises as ``load``."""
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise BadInputError(f"{path}: {reason.lower()}", _REMEDY) from error


def openvino(read: Callable[[str], str], path: str) -> OpenVinoFile:
    """Return the ``openvino.json`` that ``server.json`` at ``path`` names, untuned."""
    return _file(OpenVinoFile, read, _file(ServerFile, read, path).openvino_config)


def model_file(read: Callable[[str], str], path: str) -> ModelFile:
    """Return the ``model.json`` that ``server.json`` at ``path`` names; see ``load``."""
    return _file(ModelFile, read, _file(ServerFile, read, path).model_config_path)


def model_folder(read: Callable[[str], str], path: str) -> str:
    """Return the folder of the weights that ``server.json`` at ``path`` names; see ``load``."""
    return model_file(read, path).folder


#: Where a field of the settings stands that is not of the same name in ``server.json``.
_ELSEWHERE = {
    "model": ("model", "model"),
    "model_folder": ("model", "folder"),
    "device": ("model", "device"),
    "context_length": ("model", "context_length"),
    "cache_size_gb": ("openvino", "cache_size_gb"),
    "openvino": ("openvino", "properties"),
    "generation": ("generation", ""),
}


def _place(field: str, path: str, files: Mapping[str, str]) -> str:
    """Return the file and the field in it that a field of the settings was read from."""
    top, _, below = field.partition(".")
    file, name = _ELSEWHERE.get(top, ("", top))
    words = ".".join(word for word in (name, below) if word)
    return f"{files.get(file, path)}: {words or 'the file'}"


def port(read: Callable[[str], str], path: str) -> int:
    """Return the port in ``server.json`` at ``path``, whatever its model and weights are like.

    ``read`` and what is raised are as for ``load``.
    """
    return listens(read, path)[1]


def listens(read: Callable[[str], str], path: str) -> tuple[str, int]:
    """Return address and port in ``server.json``; as for ``port``."""
    found = _file(ServerFile, read, path)
    return found.host, found.port


def _file(kind: type[_Config], read: Callable[[str], str], path: str) -> _Config:
    try:
        text = read(path)
    except PermissionError:
        raise
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or str(error)).lower()}", _REMEDY) from error
    return parse_json(kind, text, path, _REMEDY)
