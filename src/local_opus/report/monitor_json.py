"""The schema of a look as JSON, which docs/monitor.schema.json holds."""

from __future__ import annotations

import json

from local_opus.monitor.sight import Look


def schema_text() -> str:
    """Return the schema as docs/monitor.schema.json holds it."""
    schema = Look.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "monitor.schema.json",
        "title": "A line of `local-opus monitor --json`: one look",
    }
    return json.dumps({**schema, **head}, indent=2, sort_keys=True) + "\n"
