"""A model as ``models.toml`` holds it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from local_opus.values import Model

#: Keys whose items stand on lines of their own.
_LONG = ("files", "figures", "caveats")
#: Not written where they say nothing.
_DEFAULTS: Mapping[str, JsonValue] = {"caveats": [], "trust": "pinned"}


def dump(model: Model) -> str:
    """Return the table ``[[model]]`` that is read as this model."""
    entry: dict[str, JsonValue] = model.model_dump(mode="json", exclude_none=True)
    lines = ["[[model]]"]
    for key, value in entry.items():
        if key in _DEFAULTS and _DEFAULTS[key] == value:
            continue
        if key in _LONG and isinstance(value, list):
            lines += [f"{key} = [", *(f"  {_value(item)}," for item in value), "]"]
        else:
            lines.append(f"{key} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: JsonValue) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    # A JSON string is a TOML string, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
