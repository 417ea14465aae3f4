"""Makes catalog entries: of a repository of the hub, of an address, of files of this machine.

What is pinned is what the source states now: size and sha256 of every file. From then on nothing
else passes for that model here.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_opus.catalog.load import Catalog
from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.pinning import address, folder, repository
from local_opus.pinning.draft import Asked, Draft, entry
from local_opus.pinning.source import At, Place, Repository, parse
from local_opus.values import Model
from local_opus.weights.door import Progress

__all__ = ["Asked", "Pinned", "pin"]


@dataclass(frozen=True)
class Pinned:
    """The entry, and what to know of it, a line each."""

    model: Model
    notes: tuple[str, ...]


def pin(
    host: Host, text: str, asked: Asked, catalog: Catalog, progress: Progress | None = None
) -> Pinned:
    """Return the entry of what ``text`` names; nothing is written.

    Raises BadInputError for words that name nothing or not enough, MachineCannotError for a model
    that this version can't serve, ProblemFoundError for files that are no model, and LocalOpusError
    where the source fails.
    """
    source = parse(host, text)
    _refuse_idle(source, asked)
    draft = _draft(host, source, asked, catalog, progress)
    model = entry(draft, asked)
    return Pinned(model, (*draft.notes, *_known_already(model, catalog)))


def _draft(
    host: Host, source: Repository | At | Place, asked: Asked, catalog: Catalog,
    progress: Progress | None,
) -> Draft:  # fmt: skip
    if isinstance(source, Repository):
        return repository.draft(host, source, asked, catalog, progress)
    if isinstance(source, At):
        return address.draft(host, source, asked)
    return folder.draft(host, source, asked, catalog, progress)


def _refuse_idle(source: Repository | At | Place, asked: Asked) -> None:
    """Raise BadInputError for an option that would do nothing with this kind of source."""
    is_address, is_hub = isinstance(source, At), isinstance(source, Repository)
    idle = {
        "--size": asked.size is not None and not is_address,
        "--sha256": asked.sha256 is not None and not is_address,
        "--mirror": bool(asked.mirrors) and not is_address,
        "--file": asked.file is not None and is_address,
        "--license": asked.license is not None and is_hub,
    }
    named = [name for name, is_idle in idle.items() if is_idle]
    if named:
        raise BadInputError(
            f"{' and '.join(named)}: says nothing of {source.what}", "Leave that out."
        )


def _known_already(model: Model, catalog: Catalog) -> list[str]:
    """Name the models of the catalog that have the very same weights."""
    digests = {file.sha256 for file in model.files if file.size > _LARGE}
    same = [
        one.id
        for one in catalog.models
        if one.id != model.id and digests & {file.sha256 for file in one.files}
    ]
    return [f"the catalog has the same weights already: {', '.join(same)}"] if same else []


#: Bytes from which a file is weights: tokenizers are shared by many models.
_LARGE = 32 * 1024 * 1024
