"""A repository of the hub as a catalog entry: at its commit, with the digests that the hub states.

Files that the hub keeps by sha256 are not read. Of the others it states git's sha1: they are small,
so they are read, checked by that, and pinned by sha256.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from local_opus.catalog.licenses import HUB
from local_opus.errors import BadInputError, LocalOpusError, MachineCannotError, did_you_mean
from local_opus.host.downloads import Web
from local_opus.host.hub_metadata import HubFile, HubRepo, resolve
from local_opus.host.hub_token import hub_token
from local_opus.pinning import gguf_traits, ir_traits, reading
from local_opus.pinning.draft import UNKNOWN_LICENSE, Asked, Draft, Traits
from local_opus.units import size_text
from local_opus.values import CatalogFile, HubSource, License, Trust
from local_opus.weights.digest import How, hash_piece
from local_opus.weights.sources.hub import endpoint
from local_opus.weights.sources.replies import Address
from local_opus.weights.sources.web import trusted
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.catalog.load import Catalog
    from local_opus.host import Host
    from local_opus.pinning.source import Repository
    from local_opus.weights.door import Progress

#: Lines of a list of choices.
_SHOWN = 40
_SERVED = (
    "This version serves OpenVINO IR of language models, and GGUF in one file: look for a"
    " repository whose name ends in -ov or -GGUF."
)


def draft(
    host: Host, source: Repository, asked: Asked, catalog: Catalog, progress: Progress | None
) -> Draft:
    """Return the draft of an entry. Raises as ``pinning.pin`` does."""
    hub, token = endpoint(host), hub_token(host.environ)
    known = [model.source.repo for model in catalog.models if isinstance(model.source, HubSource)]
    repo = resolve(hub, source.repo, source.revision, token, known=known)
    chosen = choose(repo, _one(source, asked))
    configured = [hub] if hub != HUB else []
    with Web(trusted(host, configured)) as web:
        reader = _Reader(web, hub, repo, token, progress)
        files = tuple(reader.pinned(file) for file in chosen)
        traits = reader.traits(chosen)
    return Draft(
        stem=_stem(repo, chosen),
        traits=traits,
        license=_license(repo),
        source=HubSource(kind="hub", repo=repo.repo, revision=repo.commit),
        files=files,
        trust=Trust.HUB,
        figures=(
            f"{hub}/{repo.repo} at {repo.commit[:12]}: sizes and digests as the hub states them",
        ),
        notes=_notes(repo),
    )


def _one(source: Repository, asked: Asked) -> str | None:
    """Return the file that is named, by the address or by --file."""
    if source.file is not None and asked.file not in {None, source.file}:
        raise BadInputError(
            f"--file {printable(str(asked.file))}: the address names {printable(source.file)}",
            "Give one of them.",
        )
    return asked.file or source.file


def choose(repo: HubRepo, wanted: str | None) -> tuple[HubFile, ...]:
    """Return the files of a repository that make a model.

    Raises BadInputError where several do and none is ``wanted``, MachineCannotError where none can
    be served.
    """
    files = {file.path: file for file in repo.files}
    ggufs = [file for file in repo.files if file.path.endswith(".gguf")]
    single = [file for file in ggufs if not gguf_traits.SPLIT.search(file.path)]
    if wanted is not None:
        return (_named(repo, wanted, ggufs),)
    if ir_traits.is_ir(files):
        required = (*ir_traits.GRAPHS, *ir_traits.CONFIGS)
        return tuple(files[path] for path in ir_traits.files_of(repo.repo, files, required))
    if len(single) == 1:
        return (single[0],)
    if single:
        raise BadInputError(
            f"{repo.repo}: has {len(single)} GGUF files",
            "Choose one with --file.",
            details=_choices(single),
        )
    raise MachineCannotError(f"{repo.repo}: {_instead(files, ggufs)}", _SERVED)


def _named(repo: HubRepo, wanted: str, ggufs: Sequence[HubFile]) -> HubFile:
    if gguf_traits.SPLIT.search(wanted):
        raise MachineCannotError(
            f"{printable(wanted)}: is a part of a GGUF in several files", _SERVED
        )
    found = next((file for file in ggufs if file.path == wanted), None)
    if found is None:
        names = [file.path for file in ggufs]
        raise BadInputError(
            f"{repo.repo}: has no GGUF file {printable(wanted)}.{did_you_mean(wanted, names)}",
            "Choose one that is there with --file." if names else _SERVED,
            details=_choices(ggufs),
        )
    return found


def _choices(files: Sequence[HubFile]) -> list[str]:
    lines = [f"{file.path}: {size_text(file.size)}" for file in files[:_SHOWN]]
    return [*lines, *([f"and {len(files) - _SHOWN} more"] if len(files) > _SHOWN else [])]


def _instead(paths: Collection[str], ggufs: Sequence[HubFile]) -> str:
    """Say what a repository holds that can't be served."""
    if ggufs:
        return "its GGUF is split into several files, and this version converts one file only"
    if "openvino_language_model.xml" in paths:
        return "holds an OpenVINO IR of a model for pictures, which this version does not serve"
    kinds: dict[str, tuple[str, ...]] = {
        "safetensors": (".safetensors",),
        "PyTorch checkpoints (pickle)": (".bin", ".pt", ".pth", ".ckpt"),
        "ONNX": (".onnx",),
    }
    held = [kind for kind, suffix in kinds.items() if any(path.endswith(suffix) for path in paths)]
    if held:
        return f"holds {' and '.join(held)}, which would have to be converted first"
    return "holds no weights of a language model"


def _stem(repo: HubRepo, chosen: Sequence[HubFile]) -> str:
    """Return what an id is made from: a GGUF's own name, or the repository's."""
    path = chosen[0].path
    if len(chosen) == 1:
        return path.rpartition("/")[2].removesuffix(".gguf")
    return repo.repo.rpartition("/")[2]


def _license(repo: HubRepo) -> License:
    link = f"Its text: {printable(repo.license_link, 300)}" if repo.license_link else None
    return License(
        id=printable(repo.license) if repo.license else UNKNOWN_LICENSE,
        gated=repo.gated is not None,
        note=link,
    )


def _notes(repo: HubRepo) -> tuple[str, ...]:
    notes = []
    if repo.license is None:
        notes.append("the repository states no licence: read what it says before you accept it")
    if repo.gated is not None:
        notes.append("it is gated: a fetch needs HF_TOKEN, of an account that was let in")
    return tuple(notes)


class _Reader:
    """Reads the small files of one repository, each once."""

    def __init__(
        self, web: Web, hub: str, repo: HubRepo, token: str | None, progress: Progress | None
    ) -> None:
        self._web = web
        self._hub = hub
        self._repo = repo
        self._token = token
        self._progress = progress
        self._read: dict[str, bytes] = {}

    def _address(self, file: HubFile) -> Address:
        page = f"{self._hub}/{self._repo.repo}"
        url = f"{page}/resolve/{self._repo.commit}/{quote(file.path)}"
        return Address(url, token=self._token, commit=self._repo.commit, page=page)

    def _whole(self, file: HubFile) -> bytes:
        if file.path not in self._read:
            if self._progress is not None:
                self._progress(f"read {file.path}", 0, file.size)
            data = reading.whole(self._web, self._address(file), file.size)
            _check(self._repo, file, data)
            self._read[file.path] = data
        return self._read[file.path]

    def pinned(self, file: HubFile) -> CatalogFile:
        """Return a file with its sha256: as the hub states it, else as it is read here."""
        if file.size == 0:
            raise LocalOpusError(
                f"{self._repo.repo}: {printable(file.path)} is empty", "Use another repository."
            )
        digest = file.sha256 or hashlib.sha256(self._whole(file)).hexdigest()
        return CatalogFile(path=file.path, size=file.size, sha256=digest)

    def traits(self, chosen: Sequence[HubFile]) -> Traits:
        """Return what the files say of the model."""
        first = chosen[0]
        if len(chosen) == 1:
            if self._progress is not None:
                self._progress(f"read the header of {first.path}", 0, 0)
            info = reading.header(self._web, self._address(first), first.size)
            return gguf_traits.traits(info, first.path)
        by_path = {file.path: file for file in chosen}
        texts = {
            path: self._whole(by_path[path])
            for path in (ir_traits.CONFIG, ir_traits.OPTIONS)
            if path in by_path
        }
        name = self._repo.repo.rpartition("/")[2]
        return ir_traits.traits(name, by_path["openvino_model.bin"].size, texts)


def _check(repo: HubRepo, file: HubFile, data: bytes) -> None:
    """Raise LocalOpusError for other bytes than those that the hub states a digest of."""
    how: How = "sha256" if file.sha256 else "git_sha1"
    found = hash_piece(io.BytesIO(data), 0, len(data), how, lambda _: None)
    stated = file.sha256 or file.git_sha1
    if found != stated:
        raise LocalOpusError(
            f"{repo.repo}: {printable(file.path)} is not the file that the hub lists: expected"
            f" {stated}, got {found}",
            "Nothing was kept. Try again; if it stays so, a proxy or a mirror serves another file.",
        )
