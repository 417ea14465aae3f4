"""The worker that has the hub's own client bring a file, which may use Xet (a native library).

Request: ``{"endpoint": address, "repo": name, "revision": commit, "path": file, "folder": path,
"token": text or null}``. Events: ``{"event": "progress", "bytes": n}`` with the bytes on disk so
far. Result: ``{"path": where the file lies}``. What it brings is proven by nobody here.
"""

from __future__ import annotations

import os
import threading
from typing import cast

from local_opus.runtime import protocol
from local_opus.runtime.worker import Emit, answer_one

#: Seconds between two progress events.
PROGRESS_INTERVAL = 0.25


def bring(request: protocol.Message, emit: Emit) -> dict[str, str]:
    """Bring one file; raises what the client raises."""
    folder = cast("str", request["folder"])
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HOME"] = os.path.join(folder, ".home")
    os.environ.pop("HF_HUB_DISABLE_XET", None)
    from huggingface_hub import hf_hub_download

    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(folder, emit, done), daemon=True)
    watch.start()
    try:
        path = hf_hub_download(
            cast("str", request["repo"]),
            cast("str", request["path"]),
            revision=cast("str", request["revision"]),
            endpoint=cast("str", request["endpoint"]),
            local_dir=folder,
            token=cast("str | None", request["token"]) or False,
        )
    finally:
        done.set()
        watch.join()
    return {"path": os.path.realpath(path)}


def _watch(folder: str, emit: Emit, done: threading.Event) -> None:
    while not done.wait(PROGRESS_INTERVAL):
        emit({"event": "progress", "bytes": _size(folder)})


def _size(folder: str) -> int:
    """Return the bytes that the folder takes on the disk; what is moved meanwhile counts as 0."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


if __name__ == "__main__":
    raise SystemExit(answer_one(bring, fetches=True))
