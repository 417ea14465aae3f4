"""What the monitor is set to: ``monitor.json`` beside the server's config, as an install writes it.

Without the file the defaults hold, which are those of the profiles.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.validation import parse_json
from local_opus.values import Value

_REMEDY = "Correct the file, or remove it and install again to have it written."


class Settings(Value):
    """``canary_every`` counts looks; a canary has ``canary_seconds`` for its whole answer."""

    schema_version: Literal[1] = 1
    interval_seconds: int = Field(default=30, ge=5, le=300)
    sick_after: int = Field(default=3, ge=1, le=10)
    canary_every: int = Field(default=10, ge=1, le=1000)
    canary_seconds: int = Field(default=60, ge=1, le=600)


def path_of(locations: Locations) -> str:
    """Return where the file lies."""
    return f"{locations.config}/monitor.json"


def read(host: Host, locations: Locations) -> Settings:
    """Return what the file says, the defaults where there is none or it is closed to this user.

    Raises BadInputError that names the file and field.
    """
    return read_with_note(host, locations)[0]


def read_with_note(host: Host, locations: Locations) -> tuple[Settings, str | None]:
    """Return the settings as ``read``, and a note where the file is there and closed.

    No note where its folder is closed: the node's configs are then not for this user.
    """
    path = path_of(locations)
    try:
        text = host.files.read_text(path, 64 * 1024)
    except (FileNotFoundError, NotADirectoryError):
        return Settings(), None
    except PermissionError:
        note = f"{path}: permission denied: the defaults hold"
        return Settings(), note if _met(host, path) else None
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or str(error)).lower()}", _REMEDY) from error
    return parse_json(Settings, text, path, _REMEDY), None


def _met(host: Host, path: str) -> bool:
    try:
        return host.files.stat(path) is not None
    except PermissionError:
        return False
