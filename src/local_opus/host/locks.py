"""One change at a time: an flock that names its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from local_opus.errors import LocalOpusError
from local_opus.host.files import Files


@contextmanager
def exclusive(files: Files, path: str) -> Iterator[None]:
    """Hold the lock at ``path`` (an absolute path; its folder exists).

    The kernel drops the lock with the process, so a killed run leaves none behind. Raises
    LocalOpusError with the holder's PID when another run holds it.
    """
    with files.open_append(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = files.read_text(path, 32).strip() or "unknown"
            raise LocalOpusError(
                f"{path}: another run is changing this machine (PID {holder})",
                f"Wait for it, or end it with `kill {holder}`; its work is resumable.",
            ) from error
        os.ftruncate(stream.fileno(), 0)
        stream.write(f"{os.getpid()}\n".encode())
        try:
            yield
        finally:
            os.ftruncate(stream.fileno(), 0)
