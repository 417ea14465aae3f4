"""What the install measured of the server, written where the monitor may read it."""

from __future__ import annotations

from pydantic import Field, ValidationError

from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.values import Value


class Baseline(Value):
    """The answer of the install's own question: tokens/s after the first token."""

    schema_version: int = 1
    model: str
    tokens_per_second: float = Field(gt=0, allow_inf_nan=False)
    first_token_seconds: float = Field(ge=0, allow_inf_nan=False)


def path_of(locations: Locations) -> str:
    """Return where it lies: beside the server's config, open to the same group."""
    return f"{locations.config}/baseline.json"


def read(host: Host, locations: Locations, model: str | None) -> float | None:
    """Return tokens/s; None: no baseline, one of another model, or closed to this user."""
    try:
        found = Baseline.model_validate_json(host.files.read_bytes(path_of(locations), 65536))
    except (OSError, ValidationError):
        return None
    return found.tokens_per_second if model in {None, found.model} else None
