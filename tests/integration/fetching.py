"""What tests of fetching share: a hub on loopback, a host that fetches from it, a short patience."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from builders import catalog_file, gguf_bytes, wheel_model
from hub import Hub
from local_opus.host import Host, partials
from local_opus.host.partials import PIECE
from local_opus.values import HubSource, Model
from local_opus.weights import salvage
from local_opus.weights.patience import Patience
from local_opus.weights.sources import spans, transfer

REPO = "some/repo"
TOKEN = "hf_secret"
#: Gives up within a second.
HASTY = Patience(
    attempts=4,
    attempts_unreachable=2,
    first_wait=0.01,
    longest_wait=0.05,
    longest_retry_after=1.0,
    stall=0.5,
    slow_rate=1000,
    slow_window=0.2,
    slow_windows=2,
)
#: Fails as often as half of all answers do, and still comes to an end.
STUBBORN = Patience(attempts=40, first_wait=0.001, longest_wait=0.002, stall=2.0)


def large_gguf(pieces: int) -> bytes:
    """Return a sound GGUF of somewhat more than so many pieces."""
    return gguf_bytes(tensors=[("token_embd.weight", (pieces * PIECE // 4,), 0)])


def host_for(hub: Hub, root: Path, **environ: str) -> Host:
    """Return a host below ``root`` that fetches from ``hub``."""
    root.mkdir(exist_ok=True)
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "LOCAL_OPUS_TRUSTED_HOSTS": "localhost"}
    return Host(str(root), {**settings, **environ})


def hub_model(
    hub: Hub, contents: Mapping[str, bytes], *, kind: str = "gguf", commit: str | None = None
) -> Model:
    """Put the contents on the hub and return the catalog's entry that pins them."""
    repository = hub.add(REPO, contents, commit=commit)
    return pinned(contents, repository.head, kind=kind)


def pinned(contents: Mapping[str, bytes], revision: str, *, kind: str = "gguf") -> Model:
    """Return the catalog's entry that pins these contents at a commit."""
    changes = {
        "source": HubSource(repo=REPO, revision=revision),
        "files": tuple(catalog_file(data, path) for path, data in contents.items()),
        "format": kind,
    }
    return wheel_model(b"x").model_copy(update=changes)


#: Bytes of a piece in tests of many pieces.
SMALL = 4096


def small_pieces(patch: pytest.MonkeyPatch, *, span: int = 2, loose: int = 4) -> None:
    """Let pieces be so small that little files have many; ``span`` and ``loose`` are in pieces."""
    for module in (partials, salvage, spans, transfer):
        patch.setattr(module, "PIECE", SMALL)
    for module in (partials, transfer):
        patch.setattr(module, "MAX_LOOSE", loose * SMALL)
    patch.setattr(spans, "SPAN", span)


def count_received(patch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the bytes of files that the client reads, by the host and port they come from.

    What a server sends is more: it lies in the kernel's buffers when the client leaves.
    """
    received: Counter[str] = Counter()
    honest = transfer.Transfer._receive

    def receive(self, answer, *args):
        place = urlsplit(answer.url).netloc

        def counted():
            for data in answer.chunks:
                received[place] += len(data)
                yield data

        honest(self, replace(answer, chunks=counted()), *args)

    patch.setattr(transfer.Transfer, "_receive", receive)
    return received


def tree(host: Host, folder: str = "/models") -> list[str]:
    """Return the paths of all files below the folder; none where it is not there."""
    return [path for path, _ in host.files.walk(folder)] if host.files.stat(folder) else []
