"""JSON files that hold the sum of their other fields: so an edit is told from what was written."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel


def dump(value: BaseModel) -> bytes:
    """Return the file's bytes, with the sum of the rest in its field ``sum``."""
    sealed = value.model_copy(update={"sum": _sum(value)})
    return json.dumps(sealed.model_dump(mode="json"), indent=2).encode() + b"\n"


def is_edited(value: BaseModel) -> bool:
    """Whether it is not as it was written."""
    return bool(value.model_dump(include={"sum"})["sum"] != _sum(value))


def _sum(value: BaseModel) -> str:
    rest = value.model_dump(mode="json", exclude={"sum"})
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
