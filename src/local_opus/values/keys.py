"""The keys of a node's clients, as the credential holds them: names and digests, never a key."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from local_opus.errors import BadInputError
from local_opus.values.base import Sha256, Value

#: Bytes of the credential at most; an entry has some 150.
LIMIT = 512 * 1024
#: Keys at most. systemd passes 1 MiB of credentials to a unit (systemd.exec(5)).
MOST_KEYS = 2048
#: What may name a key; the node's own tools have theirs under OWN.
KEY_NAME = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\z"
OWN = "node"
_REMEDY = "Restore it from a backup, or remove it and add the keys anew: `local-opus keys add`."


class KeyEntry(Value):
    """One key: who has it, the SHA-256 of its text, and when it was added (ISO 8601)."""

    name: Annotated[str, StringConstraints(pattern=KEY_NAME)]
    sha256: Sha256
    added: Annotated[str, StringConstraints(max_length=40)]


class Keyring(Value):
    """The credential ``api-keys``."""

    schema_version: Literal[1] = 1
    keys: tuple[KeyEntry, ...] = Field(default=(), max_length=MOST_KEYS)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [entry.name for entry in self.keys]
        if len(set(names)) < len(names):
            raise ValueError("two keys have the same name")
        return self

    def get(self, name: str) -> KeyEntry | None:
        """Return the entry of a name."""
        return next((entry for entry in self.keys if entry.name == name), None)

    @property
    def clients(self) -> tuple[KeyEntry, ...]:
        """All but the node's own."""
        return tuple(entry for entry in self.keys if entry.name != OWN)


class KeysFile(Value):
    """``keys.json`` beside the server's configs: whether the server wants a key."""

    schema_version: Literal[1]
    required: bool


def parse_keyring(data: bytes, path: str) -> Keyring:
    """Return what the credential at ``path`` holds.

    Raises BadInputError that names ``path``, and repeats nothing of what it holds.
    """
    if len(data) > LIMIT:
        raise BadInputError(f"{path}: longer than {LIMIT} bytes", _REMEDY)
    try:
        return Keyring.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"])) or "the credential"
    words = "is no JSON" if first["type"] == "json_invalid" else first["msg"]
    raise BadInputError(f"{path}: {where}: {words}", _REMEDY)
