"""What a first install leaves to the other tests: copies, for all processes of a run."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node_program import Program


@contextmanager
def locked(shared: Path) -> Iterator[None]:
    """Wait for a process that makes a first install, and make the others wait."""
    with (shared / "first.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Parts:
    """The copies, in the folder that the processes share. Don't write to them: copy first."""

    def __init__(self, shared: Path) -> None:
        self._folder = shared / "parts"
        self.models = self._folder / "models"

    @property
    def environment(self) -> Path:
        """The folder of the environment, by its own name."""
        (folder,) = self._folder.glob("env-*")
        return folder

    def are_there(self) -> bool:
        """Tell whether some process has kept them."""
        return self._folder.exists()

    def keep(self, program: Program) -> None:
        """Copy them from a home, if nobody has; the caller holds the lock."""
        if self.are_there():
            return
        half = self._folder.with_suffix(".half")
        half.mkdir()
        (environment,) = program.prefix.glob("env-*")
        subprocess.run(["cp", "-al", str(environment), str(half)], check=True)
        subprocess.run(["cp", "-a", str(program.prefix / "models"), str(half)], check=True)
        half.rename(self._folder)
