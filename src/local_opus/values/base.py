"""What every value is made of: the frozen base, names, and the words of the design."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


class Value(BaseModel):
    """A frozen value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("must be a relative path without '..'")
    if str(PurePosixPath(path)) != path:
        raise ValueError("must be a plain path without '.', '//' or a trailing '/'")
    return path


Sha256 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
Blake3 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
#: A path below some folder: no '..', not absolute, no backslash.
RelativePath = Annotated[str, AfterValidator(_relative)]
#: Names of models, variants and profiles: they become folder names.
Identifier = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9._-]{0,127}\z")]


class Scope(StrEnum):
    """Where an install lives: the whole system (root) or one user's XDG folders."""

    SYSTEM = "system"
    USER = "user"


class Device(StrEnum):
    """What OpenVINO runs a model on."""

    CPU = "CPU"
    GPU = "GPU"
    NPU = "NPU"


class Trust(StrEnum):
    """How a file's content was proven; the first is the strongest."""

    PINNED = "pinned"
    HUB = "hub"
    DERIVED = "derived"
    UNPROVEN = "unproven"


class Verdict(StrEnum):
    """What verification says of a file."""

    REAL = "real"
    PLACEHOLDER = "placeholder"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    UNSAFE = "unsafe"
    UNPROVEN = "unproven"
