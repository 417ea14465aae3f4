"""From what is known of a model's files to its catalog entry. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from local_opus.catalog import needs
from local_opus.catalog.entry_text import dump
from local_opus.catalog.load import parse
from local_opus.errors import BadInputError
from local_opus.values import (
    CatalogFile,
    Device,
    HttpsSource,
    HubSource,
    Identifier,
    License,
    LocalSource,
    MemoryNeed,
    Model,
    Trust,
)
from local_opus.weights.structure import printable

UNKNOWN_LICENSE = "unknown"
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
_LONGEST_ID = 100
#: Of any dimension, and bytes of a KV cache a token: larger ones are nonsense.
MAX_DIMENSION = 1 << 24
MAX_KV = 1 << 30
_BILLION, _MILLION = 10**9, 10**6
_PARAMETERS = re.compile(r"(?<![A-Za-z0-9.])(\d{1,4}(?:\.\d{1,3})?)([BbMm])(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Asked:
    """What the user says besides the source; None: nothing."""

    id: str | None = None
    file: str | None = None
    size: int | None = None
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    license: str | None = None


@dataclass(frozen=True)
class Traits:
    """What a model's files say of it. ``kv_bytes``: of the KV cache a token, at f16."""

    name: str
    family: str
    parameters: str
    format: str
    quantization: str
    context_length: int | None
    devices: tuple[Device, ...]
    kv_bytes: int | None
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """All of an entry but its id and its needs. ``stem`` is what the id is made from."""

    stem: str
    traits: Traits
    license: License
    source: HubSource | HttpsSource | LocalSource
    files: tuple[CatalogFile, ...]
    trust: Trust
    figures: tuple[str, ...]
    notes: tuple[str, ...] = ()


def entry(draft: Draft, asked: Asked) -> Model:
    """Return the entry. Raises BadInputError for an id that is none."""
    traits = draft.traits
    unmeasured = MemoryNeed(
        bytes=1, estimated=True, source="estimated", kv_bytes_per_token=traits.kv_bytes
    )
    model = Model(
        id=_made_id(draft.stem, traits) if asked.id is None else _checked(asked.id),
        name=traits.name,
        family=traits.family,
        parameters=traits.parameters,
        format=traits.format,
        quantization=traits.quantization,
        license=draft.license,
        context_length=traits.context_length,
        prompt_format=None,
        devices=traits.devices,
        source=draft.source,
        files=draft.files,
        trust=draft.trust,
        memory=unmeasured,
        figures=draft.figures,
        caveats=traits.caveats,
    )
    whole = model.model_copy(update={"memory": needs.estimated(model)})
    parse(dump(whole), "the new entry")  # what it says must hold together
    return whole


def _checked(text: str) -> str:
    try:
        return _IDENTIFIER.validate_python(text)
    except ValidationError as error:
        raise BadInputError(
            f"--id {printable(text)}: is no id", "Use a-z, 0-9, '.', '_' and '-' alone."
        ) from error


def _made_id(stem: str, traits: Traits) -> str:
    """Return an id of the name and the quantization, as those of the catalog are."""
    words, form = _slug(stem), _slug(traits.quantization.partition(" ")[0])
    known = form if traits.format == "gguf" else form.partition("_")[0]  # int4 of int4_sym
    return words if known in words else f"{words}-{form}"


def _slug(text: str) -> str:
    slug = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:_LONGEST_ID].strip("-._")
    return slug or "model"


def told_by(stem: str) -> str | None:
    """Return the number of parameters that a name tells, e.g. 1.5B of Qwen2.5-1.5B; else None."""
    found = _PARAMETERS.search(stem)
    return f"{found[1]}{found[2].upper()}" if found else None


def count_text(count: int) -> str:
    """Return a number of parameters as the catalog has it: 135M, 1.24B."""
    if count >= _BILLION:
        return f"{_three_digits(count / _BILLION)}B"
    return f"{_three_digits(max(count, 1) / _MILLION)}M"


def _three_digits(value: float) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0  # noqa: PLR2004 - three digits in all
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
