"""Weights of a repository of the Hugging Face hub, or of a mirror of it (``HF_ENDPOINT``).

``LOCAL_OPUS_MIRRORS`` names further hubs, asked for content alone when the first one fails: what
they serve is believed because its digest is known before, and no token goes there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host.hub_token import hub_token
from local_opus.host.leading import is_closed_way
from local_opus.values import HubSource, Model
from local_opus.weights.door import Progress
from local_opus.weights.manifest import HubOrigin
from local_opus.weights.sources import web, xet
from local_opus.weights.sources.arrival import Fetched, Listed
from local_opus.weights.sources.replies import Address
from local_opus.weights.sources.single import Wanted
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host import Host

ENDPOINT = "https://huggingface.co"
_PLAIN = re.compile(r"[!-~]+")


def fetch(
    host: Host, model: Model, folder: str, progress: Progress | None, listed: Listed
) -> tuple[Fetched, ...]:
    """Bring the model's files into ``folder``.

    Raises MachineCannotError for a full disk or a wrong clock, BadInputError for a wrong
    ``HF_ENDPOINT`` and LocalOpusError, with its remedy, when the hub refuses or serves another
    file.
    """
    source = model.source
    if not isinstance(source, HubSource):
        raise LocalOpusError(f"{model.id}: is not on the hub", "Correct the catalog's entry.")
    revision = source.revision or "main"
    hub = endpoint(host)
    token = hub_token(host.environ)
    bases = [hub, *mirrors(host)]
    wanted = [
        Wanted(
            file,
            [
                Address(
                    url=f"{base}/{source.repo}/resolve/{revision}/{quote(file.path)}",
                    token=token if base == hub and is_closed_way(hub) else None,
                    commit=source.revision,
                    page=f"{hub}/{source.repo}",
                )
                for base in bases
            ],
            [HubOrigin(repo=source.repo, revision=revision, path=file.path)] * len(bases),
        )
        for file in model.files
    ]
    if xet.is_wanted(host):
        return xet.fetch(host, model, folder, wanted, hub, progress)
    configured = [base for base in bases if base != ENDPOINT]
    return web.fetch_files(
        host, model, folder, wanted, progress, trusted=web.trusted(host, configured), listed=listed
    )


def endpoint(host: Host) -> str:
    """Return the hub's address without a trailing slash; raise BadInputError where it is none."""
    return _address("HF_ENDPOINT", host.environ.get("HF_ENDPOINT") or ENDPOINT)


def mirrors(host: Host) -> list[str]:
    """Return the further hubs, in their order; raise BadInputError where one is no address."""
    text = host.environ.get("LOCAL_OPUS_MIRRORS", "")
    return [_address("LOCAL_OPUS_MIRRORS", part) for part in text.replace(",", " ").split()]


def _address(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an end, a port that is none
        sound = False
    if "@" in text:  # not repeated: a password is a secret
        raise BadInputError(
            f"{name}: holds a name or a password", "Leave them out; HF_TOKEN is for a token."
        )
    if not sound or _PLAIN.fullmatch(text) is None:
        raise BadInputError(
            f"{name}: {printable(text)} is no address", f"Unset it, or set it to {ENDPOINT}."
        )
    return text.rstrip("/")
