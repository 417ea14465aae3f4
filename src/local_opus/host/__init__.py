"""The only door to the machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from local_opus.host.accounts import Accounts
from local_opus.host.files import Files, FileStat, Space
from local_opus.host.network import HttpStatusError, Network
from local_opus.host.processes import Completed, Processes
from local_opus.host.services import Services

__all__ = [
    "Accounts",
    "Completed",
    "FileStat",
    "Files",
    "Host",
    "HttpStatusError",
    "Network",
    "Processes",
    "Services",
    "Space",
]


class Host:
    """This machine, or the image in the folder ``root``."""

    def __init__(self, root: str = "/", environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = dict(os.environ if environ is None else environ)
        self.files = Files(root)
        image = self.files.root if self.files.is_image else None
        self.processes = Processes(self.environ, image)
        self.services = Services(self.files, self.processes)
        self.network = Network()
        self.accounts = Accounts(self.files)
        self.euid = os.geteuid()
        self.pid = os.getpid()
        self.cores = len(os.sched_getaffinity(0))

    @property
    def root(self) -> str:
        """The folder that all paths are below; "/" for this machine."""
        return self.files.root

    @property
    def is_image(self) -> bool:
        """Whether this is an image's folder: nothing that lies there is run, or runs."""
        return self.files.is_image

    @staticmethod
    def keep_log(name: str, text: str) -> str:
        """Write a log into this machine's temporary folder; return its path, for a person."""
        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix=f"local-opus-{name}-", suffix=".log", delete=False, encoding="utf-8"
            ) as log:
                log.write(text)
                return log.name
        except OSError as error:
            return f"not kept ({(error.strerror or str(error)).lower()})"

    @staticmethod
    @contextmanager
    def temporary_folder(name: str) -> Iterator[str]:
        """Make a folder in this machine's temporary folder, for workers; remove it at the end."""
        with tempfile.TemporaryDirectory(prefix=f"local-opus-{name}-") as folder:
            yield folder

    @staticmethod
    def now() -> str:
        """Return the time as ISO 8601 in UTC, to the second."""
        return datetime.now(UTC).isoformat(timespec="seconds")
