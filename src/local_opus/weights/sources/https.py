"""Weights at addresses that a catalog entry names, each file below one of its bases."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from local_opus.errors import LocalOpusError
from local_opus.values import HttpsSource, Model
from local_opus.weights.door import Progress
from local_opus.weights.manifest import HttpsOrigin
from local_opus.weights.sources import web
from local_opus.weights.sources.arrival import Fetched, Listed
from local_opus.weights.sources.replies import Address
from local_opus.weights.sources.single import Wanted

if TYPE_CHECKING:
    from local_opus.host import Host


def fetch(
    host: Host, model: Model, folder: str, progress: Progress | None, listed: Listed
) -> tuple[Fetched, ...]:
    """Bring the model's files into ``folder``; raises as ``web.fetch_files`` does."""
    source = model.source
    if not isinstance(source, HttpsSource):
        raise LocalOpusError(f"{model.id}: has no address", "Correct the catalog's entry.")
    for base in source.bases:
        parts = urlsplit(base)
        if parts.username or parts.password:
            raise LocalOpusError(
                f"{model.id}: the address at {parts.hostname} holds a name or a password, and the "
                "manifest would show it to all",
                "Leave it out of the catalog's entry, or copy the files and name their folder.",
            )
    wanted = []
    for file in model.files:
        urls = [f"{base.rstrip('/')}/{quote(file.path)}" for base in source.bases]
        origins = [HttpsOrigin(url=url) for url in urls]
        wanted.append(Wanted(file, [Address(url=url) for url in urls], origins))
    return web.fetch_files(
        host, model, folder, wanted, progress, trusted=web.trusted(host, source.bases),
        listed=listed,
    )  # fmt: skip
