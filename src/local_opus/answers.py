"""Answers: what an install asks, answered beforehand in a TOML file; read, and written back.

A key is named after the flag that gives the same (``use_case`` is ``--use-case``). All errors of a
file are told at once, each with its key.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)

from local_opus import profiles
from local_opus.catalog import load as load_catalog
from local_opus.devices.names import DeviceWord
from local_opus.errors import BadInputError, did_you_mean
from local_opus.validation import problems, shown
from local_opus.values import Value

#: Grows when a key changes its meaning or goes; a new key alone does not make it grow.
SCHEMA_VERSION = 1
#: Bytes; a real file has some hundred.
LONGEST = 1 << 20
#: The name that stands for standard input.
STDIN = "-"

_REMEDY = "Correct the file; `examples/answers.toml` shows the keys."
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_PLACE = re.compile(r" \(at line (\d+), column \d+\)\Z")

#: Given a limit, returns that many bytes of the file at most; raises OSError.
ReadBytes = Callable[[int], bytes]


def is_path(profile: str) -> bool:
    """Say whether a profile is named by a file's path."""
    return "/" in profile or profile.endswith(".toml")


def _known_profile(name: str) -> str:
    known = profiles.names()
    if not is_path(name) and name not in known:
        raise ValueError(f"there is no profile {shown(name)}.{did_you_mean(name, known)}")
    return name


def _known_model(name: str, info: ValidationInfo) -> str:
    known = [*load_catalog().ids(), *(info.context or ())]
    if name not in known:
        raise ValueError(f"there is no model {shown(name)}.{did_you_mean(name, known)}")
    return name


_Line = Annotated[str, StringConstraints(pattern=r"\A[^\x00-\x1f\x7f]{1,4096}\z")]


class Answers(Value):
    """One answers file; None: not answered. Types are taken literally, "8000" is no port."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: int = Field(
        default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION, description="of this format; 1"
    )
    profile: Annotated[_Line, AfterValidator(_known_profile)] | None = Field(
        default=None, description="a profile's name, or the path of a profile file"
    )
    model: Annotated[_Line, AfterValidator(_known_model)] | None = Field(
        default=None, description="a model of the catalog (`models list`)"
    )
    device: DeviceWord | None = Field(default=None, description="what runs the model")
    use_case: Literal["chat", "coding", "analysis"] | None = Field(
        default=None, description="what the model is chosen for, where `model` names none"
    )
    port: int | None = Field(
        default=None, ge=1024, le=65535, description="the server's port on 127.0.0.1"
    )
    tune: bool | None = Field(
        default=None,
        description="true: measure OpenVINO's settings and keep the best; false: don't; "
        "not answered: as the profile says",
    )
    linger: bool | None = Field(
        default=None,
        description="scope user: true: the node goes on without a login; false: it does not; "
        "not answered: as the profile says",
    )
    scope: Literal["system", "user"] | None = Field(
        default=None, description="for everyone (needs root), or for the user who runs it"
    )
    root: _Line | None = Field(
        default=None, description="the folder of an image instead of this machine"
    )
    yes: bool | None = Field(default=None, description="true: ask nothing")
    accept_license: bool | None = Field(
        default=None, description="true: accept the model's licence, where it is not a free one"
    )
    dry_run: bool | None = Field(
        default=None, description="true: print the plan and change nothing"
    )
    quiet: bool | None = Field(default=None, description="true: print errors alone")
    as_json: bool | None = Field(default=None, alias="json", description="true: print JSON lines")

    def given(self) -> dict[str, str | int | bool]:
        """Return what is answered, by the name of the field."""
        found: dict[str, str | int | bool] = self.model_dump(
            exclude={"schema_version"}, exclude_none=True
        )
        return found


def load(name: str, read: ReadBytes, pinned: Sequence[str] = ()) -> Answers:
    """Return the answers of a file; paths in it start at its folder. Raises BadInputError.

    ``pinned`` are the models that there are besides those of the program's own catalog.
    """
    source = "standard input" if name == STDIN else name
    try:
        data = read(LONGEST + 1)
    except OSError as error:
        raise BadInputError(
            f"answers {shown(source)}: {error.strerror or error}",
            f"Name a TOML file that you can read, or {STDIN} for standard input.",
        ) from None
    found = parse(data, source, pinned)
    folder = "" if name == STDIN else posixpath.dirname(name)
    paths = {"root": found.root}
    if found.profile is not None and is_path(found.profile):
        paths["profile"] = found.profile
    moved = {key: posixpath.join(folder, path) for key, path in paths.items() if path}
    return found.model_copy(update=moved)


def parse(data: bytes, source: str, pinned: Sequence[str] = ()) -> Answers:
    """Return the answers of a file's bytes. Raises BadInputError with every error of them."""
    tables = _toml(_text(data, source), source)
    version = tables.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        # Of what a newer version may hold nothing else can be judged.
        raise BadInputError(
            f"{source}: schema_version: {version} is newer than {SCHEMA_VERSION}, "
            "which this program reads",
            "Use a program as new as the one that wrote it.",
        )
    found = of(tables, source, pinned)
    if not found.given():
        raise BadInputError(f"{source}: holds no answer", _REMEDY)
    return found


def of(values: Mapping[str, object], source: str, pinned: Sequence[str] = ()) -> Answers:
    """Return values as answers. Raises BadInputError with every error of them."""
    try:
        return Answers.model_validate(values, context=[*pinned])
    except ValidationError as error:
        lines = [f"{source}: {line}" for line in problems(Answers, values, error)]
    message = lines[0] if len(lines) == 1 else f"{source}: {len(lines)} errors"
    raise BadInputError(message, _REMEDY, details=lines if len(lines) > 1 else ())


def dump(answers: Answers) -> bytes:
    """Return the file that ``parse`` reads as these answers."""
    lines = ["# Answers of Local Opus: `install --answers FILE` asks none of this again.\n"]
    for key, value in answers.model_dump(exclude_none=True, by_alias=True).items():
        # A JSON string is a TOML string, but for DEL, which no answer holds.
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(lines).encode()


def _text(data: bytes, source: str) -> str:
    """Return the text, without the byte order mark that Windows' editors write."""
    if len(data) > LONGEST:
        raise BadInputError(f"{source}: is larger than {LONGEST} bytes", _REMEDY)
    if data.startswith(_UTF_16):
        raise BadInputError(f"{source}: is UTF-16 text", "Save it as UTF-8.")
    data = data.removeprefix(_BOM)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInputError(
            f"{source}:{line}: not UTF-8: byte 0x{data[error.start]:02x}", "Save it as UTF-8."
        ) from None


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text + "\n")  # so that the last line, too, is told by its number
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; 5,000 digits; deep nesting
        what = str(error).removesuffix(" (at end of document)")
        place = _PLACE.search(what)
        what = what[: place.start()] if place else what
        lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        number = int(place[1]) if place else len(lines)
        raise BadInputError(
            f"{source}:{number}: not TOML: {what}: {shown(lines[number - 1])}", _REMEDY
        ) from None
