"""The hub's own client instead of ours, where the user asks for it with ``LOCAL_OPUS_XET=1``.

Its native library fetches what Xet stores in common with other files. It runs in a worker, knows
nothing of pins, and what it brings is hashed afterwards; its partial downloads are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_opus.errors import BadInputError, LocalOpusError, WorkerError
from local_opus.weights.sources.arrival import (
    Fetched,
    check_space,
    digests_in_place,
    disk_errors,
    mismatch,
    settle,
    with_structure,
)
from local_opus.weights.store import partial_folder

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.values import CatalogFile, Model
    from local_opus.weights.door import Progress
    from local_opus.weights.manifest import HubOrigin
    from local_opus.weights.sources.single import Wanted

NAME = "LOCAL_OPUS_XET"
#: Seconds for one file: 100 GB over a line of 10 Mbit/s.
TIMEOUT = 86_400.0


def is_wanted(host: Host) -> bool:
    """Whether the user asked for it. Raises BadInputError for a word that is neither."""
    text = host.environ.get(NAME, "").strip().lower()
    if text not in {"", "0", "1", "false", "true", "no", "yes"}:
        raise BadInputError(f"{NAME}: {text!r} is neither 0 nor 1", f"Unset it, or set {NAME}=1.")
    return text in {"1", "true", "yes"}


def fetch(
    host: Host,
    model: Model,
    folder: str,
    wanted: list[Wanted],
    endpoint: str,
    progress: Progress | None,
) -> tuple[Fetched, ...]:
    """Bring the files; raises as ``web.fetch_files`` does."""
    work = f"{partial_folder(folder)}/xet"
    fetched = []
    with disk_errors(folder):
        host.files.make_folders(work)
        for item in wanted:
            file, origin = item.file, item.origins[0]
            target = f"{folder}/{file.path}"
            digests = digests_in_place(host, target, file)
            new = digests is None
            if digests is None:
                check_space(host, work, file.size, f"fetching {file.path}")
                path = f"{work}/{file.path}"
                token = item.addresses[0].token
                _ask_worker(host, origin, file, work, (endpoint, token), progress)  # type: ignore[arg-type]
                digests = digests_in_place(host, path, file)
                if digests is None:
                    host.files.discard(path)
                    raise mismatch(file, endpoint, f"sha256 {file.sha256}", "another one by Xet")
                settle(host, path, target, file)
            fetched.append(Fetched(file.path, digests, origin, model.trust, {}, new=new))
        host.files.remove_tree(work)
    return tuple(with_structure(host, folder, item) for item in fetched)


def _ask_worker(
    host: Host,
    origin: HubOrigin,
    file: CatalogFile,
    work: str,
    who: tuple[str, str | None],
    progress: Progress | None,
) -> None:
    def on_event(event: dict[str, object]) -> None:
        count = event.get("bytes")
        if progress is not None and isinstance(count, int):
            progress(f"download {file.path}", min(count, file.size), file.size)

    endpoint, token = who
    request: dict[str, object] = {
        "endpoint": endpoint, "repo": origin.repo, "revision": origin.revision, "path": file.path,
        "folder": host.files.real_path(work), "token": token,
    }  # fmt: skip
    try:
        host.processes.worker("hub_file", request, timeout=TIMEOUT, on_event=on_event)
    except WorkerError as error:
        raise LocalOpusError(
            f"{origin.repo}/{file.path}: {error.message}",
            f"Run this again, or leave {NAME} out: then it continues where it ended.",
            details=error.details,
        ) from error
