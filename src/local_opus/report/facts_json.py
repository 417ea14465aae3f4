"""Host facts for a program: JSON, and the JSON schema that describes it."""

from __future__ import annotations

import json

from pydantic import JsonValue

from local_opus.values import HostFacts

_SCHEMA_ID = "detect.schema.json"


def facts_json(facts: HostFacts) -> dict[str, JsonValue]:
    """Return the facts as JSON holds them; ``facts_schema`` describes them."""
    found: dict[str, JsonValue] = facts.model_dump(mode="json")
    return found


def facts_schema() -> dict[str, JsonValue]:
    """Return the JSON schema (2020-12) of ``detect --json``."""
    schema = HostFacts.model_json_schema(mode="serialization")
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:  # what has a default is printed all the same
            part["required"] = list(part["properties"])
    title = "The output of `local-opus detect --json`"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": _SCHEMA_ID,
            **schema, "title": title}  # fmt: skip


def schema_text() -> str:
    """Return the schema as docs/detect.schema.json holds it."""
    return json.dumps(facts_schema(), indent=2) + "\n"
