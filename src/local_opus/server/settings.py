"""The server's settings: one strict JSON file.

Lengths are tokens, sizes bytes unless a name says otherwise.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, ValidationError, field_validator

from local_opus.errors import BadInputError, did_you_mean
from local_opus.values import Identifier, Sha256, Value

#: A host name or an IP literal, without port and brackets.
HostName = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9.:_-]{1,253}\z")]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"\A/[^\x00]*\z", max_length=4096)]
#: The scheme, host and port of a web page, as a browser sends it.
Origin = Annotated[str, StringConstraints(pattern=r"\Ahttps?://[A-Za-z0-9.:\[\]_-]{1,253}\z")]


class GenerationDefaults(Value):
    """What a request that says nothing gets. The ranges are those of the API."""

    temperature: float = Field(default=1.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    #: The most probable tokens to choose from; None: all.
    top_k: int | None = Field(default=None, ge=1, le=1_000_000)
    repetition_penalty: float = Field(default=1.0, gt=0, le=2, allow_inf_nan=False)
    #: None: as many as the context has room for.
    max_tokens: int | None = Field(default=None, ge=1)


class Settings(Value):
    """One server with one model."""

    schema_version: Literal[1]
    host: HostName = "127.0.0.1"
    #: 0: any free one; the log says which.
    port: int = Field(default=8000, ge=0, le=65535)
    #: Names besides loopback and ``host`` under which clients may call this server.
    allowed_hosts: tuple[HostName, ...] = ()
    #: Web pages of other sites that may call this server.
    allowed_origins: tuple[Origin, ...] = ()
    model: Identifier
    model_folder: AbsolutePath
    #: The digest of the weights manifest; part of ``system_fingerprint``.
    weights_digest: Sha256 | None = None
    device: Annotated[str, StringConstraints(pattern=r"\A[A-Z][A-Za-z0-9.:,_()-]{0,63}\z")] = "CPU"
    context_length: int = Field(ge=16, le=16_777_216)
    #: The KV cache's size in GiB; memory is taken as it fills.
    cache_size_gb: int = Field(default=1, ge=1, le=4096)
    #: Requests that are computed at the same time.
    max_concurrent: int = Field(default=128, ge=1, le=4096)
    #: Requests that wait besides; one more is refused with 429.
    max_queue: int = Field(default=256, ge=0, le=65536)
    #: Keep the KV cache of prompts that begin alike. An answer then depends a little on what was
    #: asked before, so the same seed does not always give the same text.
    prefix_caching: bool = False
    #: Tokens that the engine takes in one step at most; None: as the library has it.
    max_num_batched_tokens: int | None = Field(default=None, ge=16, le=1_048_576)
    #: Whether a long prompt is split over steps; None: as the library has it.
    dynamic_split_fuse: bool | None = None
    #: Keep the engine's memory from being swapped out, where RLIMIT_MEMLOCK allows it.
    lock_memory: bool = False
    #: OpenVINO's own properties.
    openvino: dict[str, JsonValue] = Field(default_factory=dict)
    generation: GenerationDefaults = GenerationDefaults()
    #: Whether every request has to carry a key; see ``server.keys``.
    keys: Literal["none", "required"] = "none"
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=32 * 1024 * 1024)
    max_messages: int = Field(default=1024, ge=1, le=65536)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("host")
    @classmethod
    def _host_can_be_bound(cls, host: str) -> str:
        if ":" in host:
            ip_address(host)  # raises ValueError: only an IPv6 literal has a colon
        return host


def parse(text: str, path: str) -> Settings:
    """Return the settings in ``text``.

    Raises BadInputError that names ``path`` (its ``details`` are all errors, one line each).
    """
    try:
        return Settings.model_validate_json(text, strict=True)
    except ValidationError as error:
        lines = [
            _line(".".join(map(str, detail["loc"])), detail["type"], detail["msg"])
            for detail in error.errors(include_url=False, include_input=False)
        ]
    raise BadInputError(
        f"{path}: {lines[0]}", "Correct the file, or install again to have it written.",
        details=lines[1:],
    )  # fmt: skip


def _line(field: str, kind: str, text: str) -> str:
    if kind == "json_invalid":
        return f"is no JSON: {text.removeprefix('Invalid JSON: ')}"
    if kind == "extra_forbidden":
        parent, _, name = field.rpartition(".")
        model = GenerationDefaults if parent == "generation" else Settings
        return f"{field}: no such field.{did_you_mean(name, model.model_fields)}"
    return f"{field or 'the file'}: {text[:1].lower()}{text[1:]}"


def load(path: str) -> Settings:
    """Read the settings from a file. Raises BadInputError."""
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise BadInputError(
            f"{path}: {reason}", "Name the config with --config; an install writes it."
        ) from error
    return parse(text, path)
