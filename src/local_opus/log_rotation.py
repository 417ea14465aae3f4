"""Keeps the log of a server without systemd bounded while it runs.

Server and engine write through the same open file, so that renaming it would change nothing: its
older part is copied into ``server.log.1`` and the file cut to nothing, as logrotate's copytruncate
does. All of it is opened in append mode, so writing goes on at the new end. What is written between
the last read and the cut, some microseconds, is lost. The process may be one that has no right to
either path: it is given the open files.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress

log = logging.getLogger(__name__)

#: Bytes after which the log is cut; with the older part it takes twice that, and what is written
#: in a pause.
LIMIT = 10 * 1024 * 1024
PAUSE = 2.0
#: Names the descriptor of the file for the older part.
VARIABLE = "LOCAL_OPUS_OLD_LOG"
_CHUNK = 1024 * 1024
_OUTPUT = 1


def rotate(current: int, old: int, limit: int = LIMIT) -> bool:
    """Cut a log that is longer than ``limit``; return whether it was.

    Both are descriptors. ``old`` gets its last ``limit`` bytes, from the begin of a line. Where
    there is no room for them they are dropped: a log must not fill a disk. Raises OSError where the
    log itself can't be cut.
    """
    size = os.fstat(current).st_size
    if size <= limit:
        return False
    try:
        os.ftruncate(old, 0)
        _copy(current, old, max(0, size - limit))
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(old, 0)
        log.warning("the log's older part is dropped: %s", (error.strerror or str(error)).lower())
    os.ftruncate(current, 0)
    return True


def _copy(current: int, old: int, begin: int) -> None:
    position, offset = begin, 0
    while chunk := os.pread(current, _CHUNK, position):
        position += len(chunk)
        if offset == 0 and begin > 0:
            chunk = chunk.partition(b"\n")[2]
        while chunk:
            written = os.pwrite(old, chunk, offset)
            offset += written
            chunk = chunk[written:]
        if position - begin > 2 * LIMIT:  # written faster than copied
            return


def begin(environ: Mapping[str, str] = os.environ) -> None:
    """Look after this process's output from now on, where its starter gave it the other file."""
    given = environ.get(VARIABLE, "")
    if not given.isdecimal():
        return
    old = int(given)

    def look() -> None:
        pause = threading.Event()
        while not pause.wait(PAUSE):
            try:
                rotate(_OUTPUT, old)
            except OSError as error:
                log.warning("the log can't be cut: %s", (error.strerror or str(error)).lower())
                return

    threading.Thread(target=look, name="log", daemon=True).start()
