"""Calls as another user than root, whom every mode lets pass."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def as_nobody(call: Callable[[], object]) -> None:
    """Call in a process of a user who is not root. Raises AssertionError with what went wrong."""
    if os.geteuid() != 0:
        call()
        return
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            call()
        except BaseException:  # noqa: BLE001 - told by the parent
            said = traceback.format_exc()
        os.write(write, said.encode()[-60_000:])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as words:
        said = words.read()
    os.waitpid(child, 0)
    assert not said, said


def give_to_nobody(top: Path) -> None:
    """Make him the owner of all that root made there."""
    if os.geteuid() == 0:
        for path in [top, *top.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """Give a folder that ``as_nobody`` can reach, and that is his."""
    made = Path(tempfile.mkdtemp(prefix="local-opus-nobody-"))
    try:
        give_to_nobody(made)
        yield made
    finally:
        for folder, _, _ in os.walk(made):
            os.chmod(folder, 0o700)
        shutil.rmtree(made)
