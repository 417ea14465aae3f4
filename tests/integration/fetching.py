"""What tests of fetching share: a hub on loopback, a host that fetches from it, a short patience."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from builders import (
    LLAMA,
    catalog_file,
    gguf_bytes,
    gguf_header,
    pad,
    tensor_info,
    wheel_model,
)
from hub import Hub
from local_opus.host import Host, downloads, partials
from local_opus.host.partials import PIECE
from local_opus.values import HubSource, Model
from local_opus.weights import fetch, salvage
from local_opus.weights.manifest import Manifest
from local_opus.weights.patience import Patience
from local_opus.weights.sources import arrival, spans, transfer

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


def float_gguf(mebibytes: int, number: int = 0) -> bytes:
    """Return a sound GGUF of somewhat more than so many MiB; no two, and no two MiB, are alike."""
    values = array("f", [((n * 7 + number) % 1009 - 504) / 10_000 for n in range(262_144)])
    data = b"".join(
        values[first:].tobytes() + values[:first].tobytes() for first in range(mebibytes)
    )
    infos = [tensor_info("token_embd.weight", (mebibytes * 262_144,), 0, 0)]
    return pad(gguf_header(LLAMA, infos)) + data


def host_for(hub: Hub, root: Path, **environ: str) -> Host:
    """Return a host below ``root``, which was booted once, that fetches from ``hub``."""
    (root / "proc/sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("this boot\n")
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


def small_pieces(patch: pytest.MonkeyPatch, *, span: int = 2, lost: int = 24) -> None:
    """Let pieces be so small that little files have many; ``span`` and ``lost`` are in pieces."""
    for module in (partials, salvage, spans, transfer):
        patch.setattr(module, "PIECE", SMALL)
    for module in (partials, transfer):
        patch.setattr(module, "MAX_LOST", lost * SMALL)
    patch.setattr(spans, "SPAN", span)
    patch.setattr(downloads, "_CHUNK", SMALL)


def small_segments(patch: pytest.MonkeyPatch) -> int:
    """Let a segment be four small pieces; return its bytes."""
    size = 4 * SMALL
    for module in (arrival, transfer, fetch):
        patch.setattr(module, "SEGMENT_SIZE", size)
    patch.setattr(fetch, "Manifest", partial(Manifest, segment_size=size))
    return size


def count_received(patch: pytest.MonkeyPatch, *, by_file: bool = False) -> Counter[str]:
    """Count the bytes of files that the client reads, by the host and port they come from.

    ``by_file``: by the path of the file instead.

    What a server sends is more: it lies in the kernel's buffers when the client leaves.
    """
    received: Counter[str] = Counter()
    honest = transfer.Transfer._receive

    def receive(self, answer, *args):
        key = self._file.path if by_file else urlsplit(answer.url).netloc

        def counted():
            for data in answer.chunks:
                received[key] += len(data)
                yield data

        honest(self, replace(answer, chunks=counted()), *args)

    patch.setattr(transfer.Transfer, "_receive", receive)
    return received


def tree(host: Host, folder: str = "/models") -> list[str]:
    """Return the paths of all files below the folder; none where it is not there."""
    return [path for path, _ in host.files.walk(folder)] if host.files.stat(folder) else []
