"""The only door to the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from local_opus.host import timekeeping
from local_opus.host.accounts import Accounts
from local_opus.host.files import Files, FileStat, Space
from local_opus.host.kernel import Kernel, Memory
from local_opus.host.processes import Completed, Processes
from local_opus.host.workers import BegunWorker

if TYPE_CHECKING:
    from local_opus.host.network import KeyFor, Network
    from local_opus.host.services import Services

__all__ = [
    "Accounts",
    "BegunWorker",
    "Completed",
    "FileStat",
    "Files",
    "Host",
    "Kernel",
    "Memory",
    "Processes",
    "Space",
]


class Host:
    """This machine, or the image in the folder ``root``."""

    def __init__(self, root: str = "/", environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = dict(os.environ if environ is None else environ)
        self.files = Files(root)
        image = self.files.root if self.files.is_image else None
        self.processes = Processes(self.environ, image)
        self.accounts = Accounts(self.files)
        self.kernel = Kernel(is_image=self.files.is_image)
        self.euid = os.geteuid()
        self.pid = os.getpid()
        self.cores = len(os.sched_getaffinity(0))
        #: Who knows the key of a server that wants one; None: nobody.
        self.key_for: KeyFor | None = None

    @cached_property
    def network(self) -> Network:
        """The network, whose modules (http, ssl) most commands do without."""
        from local_opus.host.network import Network  # noqa: PLC0415

        return Network(
            lambda address, port: self.key_for(address, port) if self.key_for is not None else None
        )

    @cached_property
    def services(self) -> Services:
        """The service manager. Late too: it speaks in values of pydantic."""
        from local_opus.host.services import Services  # noqa: PLC0415

        return Services(self.files, self.processes)

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
        import tempfile  # noqa: PLC0415 - few commands keep a log

        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix=f"local-opus-{name}-", suffix=".log", delete=False, encoding="utf-8"
            ) as log:
                log.write(text)
                return log.name
        except OSError as error:
            return f"not kept ({(error.strerror or str(error)).lower()})"

    @staticmethod
    def clock_kept() -> bool | None:
        """Tell whether something keeps this machine's clock; None: not told."""
        return timekeeping.clock_kept()

    @staticmethod
    def uptime() -> float:
        """Return the seconds since this machine was booted."""
        return timekeeping.uptime()

    @staticmethod
    @contextmanager
    def temporary_folder(name: str) -> Iterator[str]:
        """Make a folder in this machine's temporary folder, for workers; remove it at the end."""
        import tempfile  # noqa: PLC0415 - as above

        with tempfile.TemporaryDirectory(prefix=f"local-opus-{name}-") as folder:
            yield folder

    @staticmethod
    def now() -> str:
        """Return the time as ISO 8601 in UTC, to the second."""
        return datetime.now(UTC).isoformat(timespec="seconds")
