"""What the install measured of the server, written where the monitor may read it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.validation import parse_json
from local_opus.values import Sha256, Value

#: Bytes that are read.
LIMIT = 64 * 1024
#: An install measures where there is no file; one that is not what it wrote it takes for an edit.
_REMEDY = "Remove it and install again to have it measured anew."


class Baseline(Value):
    """The answer of the install's own question: tokens/s after the first token.

    ``measured_for`` changes with all that the server was started with.
    """

    schema_version: Literal[1] = 1
    model: str
    measured_for: Sha256
    tokens_per_second: float = Field(gt=0, allow_inf_nan=False)
    first_token_seconds: float = Field(ge=0, allow_inf_nan=False)


def path_of(locations: Locations) -> str:
    """Return where it lies: beside the server's config, open to the same group."""
    return f"{locations.config}/baseline.json"


def read(host: Host, locations: Locations, model: str | None) -> float | None:
    """Return tokens/s; None: no baseline, one of another model, or in a folder that is closed.

    Raises BadInputError that names the file and field.
    """
    path = path_of(locations)
    try:
        if host.files.stat(path) is None:
            return None
    except PermissionError:  # the node's configs are not for this user
        return None
    try:
        text = host.files.read_text(path, LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or str(error)).lower()}", _REMEDY) from error
    found = parse_json(Baseline, text, path, _REMEDY)
    return found.tokens_per_second if model in {None, found.model} else None


def parse(data: bytes) -> Baseline | None:
    """Return what a file holds; None: nothing of this form."""
    try:
        return Baseline.model_validate_json(data)
    except ValidationError:
        return None
