"""Say what is wrong with a data file in words that name the key: pure, for TOML and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from local_opus.errors import BadInputError, did_you_mean

_Model = TypeVar("_Model", bound=BaseModel)
_LONGEST_SHOWN = 60


def shown(value: object) -> str:
    """Return a value as it may stand in one line: quoted, control characters escaped, cut."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def loopback(host: str) -> str:
    """Return the address; raise ValueError where others than this machine could reach it."""
    try:
        inside = ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise ValueError(f"must be a loopback address such as 127.0.0.1, not {shown(host)}")
    return host


def parse_json(model: type[_Model], text: str, path: str, remedy: str) -> _Model:
    """Return what the JSON file at ``path`` says, its types taken literally.

    Raises BadInputError that names ``path`` and the first key that is wrong; its details are the
    others.
    """
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        known = [field.alias or name for name, field in model.model_fields.items()]
        lines = []
        for detail in error.errors(include_url=False, include_input=False):
            key = ".".join(map(str, detail["loc"])) or "the file"
            unknown = detail["type"] == "extra_forbidden"
            words = f"unknown key.{did_you_mean(key, known)}" if unknown else detail["msg"]
            lines.append(f"{key}: {words}")
    raise BadInputError(f"{path}: {lines[0]}", remedy, details=lines[1:])


def problems(model: type[BaseModel], data: object, error: ValidationError) -> list[str]:
    """Return one line for each error: the key's path, what is wrong, the nearest name.

    ``data`` is what was validated; of a union only the member that ``data`` comes nearest to is
    spoken of (the one with the same ``kind``).
    """
    lines = []
    details = error.errors(include_url=False)
    for detail in details:
        path = _path(data, detail["loc"])
        if path is None or _follows(detail, details):
            continue
        line = f"{'.'.join(map(str, path)) or 'the file'}: {_words(model, path, detail)}"
        if line not in lines:
            lines.append(line)
    return lines


def _follows(detail: ErrorDetails, others: Iterable[ErrorDetails]) -> bool:
    """Say whether a list is too short only because its wrong items were not counted."""
    loc = detail["loc"]
    inside = (other["loc"] for other in others if len(other["loc"]) > len(loc))
    return detail["type"] == "too_short" and any(other[: len(loc)] == loc for other in inside)


def _path(data: object, loc: Iterable[int | str]) -> list[int | str] | None:
    """Drop the names of union members from a location; None when another member is meant."""
    path: list[int | str] = []
    here = data
    parts = list(loc)
    for index, part in enumerate(parts):
        inside = isinstance(here, Mapping) and part not in here and index < len(parts) - 1
        if inside and isinstance(part, str) and isinstance(here, Mapping):
            kind = here.get("kind")
            if isinstance(kind, str) and not part.casefold().startswith(kind.casefold()):
                return None
            continue
        path.append(part)
        if isinstance(here, Mapping):
            here = here.get(part)
        elif isinstance(here, list | tuple) and isinstance(part, int):
            here = here[part] if part < len(here) else None
    return path


def _words(model: type[BaseModel], path: list[int | str], detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return "unknown key." + did_you_mean(str(path[-1]), _fields_at(model, path[:-1]))
    if kind == "missing":
        return "is missing"
    if kind in {"literal_error", "enum"}:
        choices = str(detail["ctx"]["expected"]).replace(" or ", ", ")
        near = did_you_mean(str(value), [choice.strip("' ") for choice in choices.split(",")])
        return f"must be one of {choices}, not {shown(value)}.{near}".removesuffix(".")
    if kind == "string_pattern_mismatch":
        return f"{shown(value)} does not have the right form"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind in {"model_type", "dict_type"}:
        return f"must be a table, not {shown(value)}"
    text = detail["msg"].replace("Input should be", "must be")
    if isinstance(value, Mapping | list | tuple):
        return text
    return f"{text}, not {shown(value)}" if text.startswith("must be") else text


def _fields_at(model: type[BaseModel], path: list[int | str]) -> list[str]:
    """Return the names that are known at a path."""
    here: list[type[BaseModel]] = [model]
    for part in path:
        if isinstance(part, str):
            fields = [found.model_fields[part] for found in here if part in found.model_fields]
            here = [found for field in fields for found in _models(field.annotation)]
    return [field.alias or name for found in here for name, field in found.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - an annotation has no narrower type
    """Return the models inside an annotation such as ``tuple[A | B, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]
