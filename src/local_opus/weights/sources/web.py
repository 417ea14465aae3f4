"""Brings files that lie at addresses of the web: all of a model's at the same time.

What a killed run left is gone on with. Where a file turns out to be another than the pinned one it
comes again from the next address, or once more from the only one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local_opus.host.downloads import Web
from local_opus.host.partials import Partial, discard, have
from local_opus.weights.digest import Digests
from local_opus.weights.door import Progress
from local_opus.weights.manifest import Origin
from local_opus.weights.patience import PATIENT, Patience
from local_opus.weights.sources.arrival import (
    Fetched,
    Listed,
    check_space,
    digests_in_place,
    disk_errors,
    partial_name,
    with_structure,
)
from local_opus.weights.sources.single import Single, Wanted
from local_opus.weights.sources.transfer import StoppedTransferError, join_all
from local_opus.weights.store import partial_folder

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.values import Model

#: Files that come at the same time, and connections for all of them together: what fills a line
#: of 1 Gbit/s at a latency of 100 ms, and what a hub allows.
FILES = 4
CONNECTIONS = 8
_POLL = 0.1
#: Seconds that threads get to end after an error or Ctrl-C. Their connections are closed by then;
#: one that waits for a name or for a connection to come about writes nothing any more.
_END = 1.5


def fetch_files(
    host: Host,
    model: Model,
    folder: str,
    wanted: Sequence[Wanted],
    progress: Progress | None,
    *,
    trusted: Sequence[str],
    listed: Listed,
    patience: Patience | None = None,
) -> tuple[Fetched, ...]:
    """Bring the model's files into ``folder``, each proven before it has its name there.

    ``trusted`` are the hosts that the user configured; ``listed`` is what an earlier manifest says
    of the files by path: it knows the segments of one that is damaged. Raises MachineCannotError
    for a full disk or a wrong clock and LocalOpusError, with its remedy, when no address brings the
    right file.
    """
    work = partial_folder(folder)
    patience = patience or PATIENT
    with disk_errors(folder), Web(trusted, read_timeout=patience.stall) as web:
        host.files.make_folders(work)
        fetch = _Fetch(host, model, folder, work, web, patience, listed)
        for item in wanted:
            digests = digests_in_place(host, f"{folder}/{item.file.path}", item.file)
            if digests is not None:
                fetch.add(item, digests, item.origins[0], new=False)
        missing = [item for item in wanted if item.file.path not in fetch.fetched]
        fetch.run(missing, progress, sum(item.file.size for item in wanted))
        for item in wanted:
            discard(host.files, f"{work}/{partial_name(item.file)}")
    return tuple(with_structure(host, folder, fetch.fetched[item.file.path]) for item in wanted)


def trusted(host: Host, addresses: Iterable[str]) -> list[str]:
    """Return the hosts that the user configured: those of ``addresses``, and further ones."""
    more = host.environ.get("LOCAL_OPUS_TRUSTED_HOSTS", "").replace(",", " ").split()
    return [urlsplit(address).hostname or "" for address in addresses] + more


@dataclass
class _Fetch:
    """The files of one model on their way."""

    host: Host
    model: Model
    folder: str
    work: str
    web: Web
    patience: Patience
    listed: Listed
    fetched: dict[str, Fetched] = field(default_factory=dict)
    _under_way: dict[str, Partial] = field(default_factory=dict)
    _errors: list[BaseException] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _connections: int = CONNECTIONS

    def add(self, item: Wanted, digests: Digests, origin: Origin, *, new: bool) -> None:
        """Note a file that is in its place."""
        path = item.file.path
        self.fetched[path] = Fetched(path, digests, origin, self.model.trust, {}, new=new)

    def run(self, missing: Sequence[Wanted], progress: Progress | None, total: int) -> None:
        """Bring the missing files; raise what kept one of them away."""
        if not missing:
            return
        need = sum(item.file.size - min(item.file.size, self._have(item)) for item in missing)
        check_space(self.host, self.work, need, f"fetching {self.model.id}")
        count = min(FILES, len(missing))
        self._connections = CONNECTIONS // count
        waiting: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
        for item in missing:
            waiting.put(item)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), daemon=True) for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            while running := [thread for thread in threads if thread.is_alive()]:
                running[0].join(_POLL)
                self.web.end_late()
                if progress is not None:
                    progress(f"download {self.model.id}", self._arrived(), total)
        finally:
            self._ended.set()
            self.web.abort()
            join_all(threads, _END)
        if self._errors:
            raise self._errors[0]

    def _have(self, item: Wanted) -> int:
        return have(self.host.files, f"{self.work}/{partial_name(item.file)}")

    def _arrived(self) -> int:
        whole = sum(item.digests.size for item in tuple(self.fetched.values()))
        return whole + sum(partial.have for partial in tuple(self._under_way.values()))

    def _work(self, waiting: queue.SimpleQueue[Wanted]) -> None:
        try:
            while not self._ended.is_set():
                self._bring(waiting.get_nowait())
        except queue.Empty:
            return
        except StoppedTransferError:
            return  # whoever stopped this has the error
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._errors.append(error)
            self._ended.set()
            self.web.abort()

    def _bring(self, item: Wanted) -> None:
        path = item.file.path
        one = Single(
            self.host, self.web, item, self.folder, self.work, self.listed.get(path), self.patience,
            connections=self._connections, stopped=self._ended.is_set,
        )  # fmt: skip
        with one:
            self._under_way[path] = one.partial
            digests, origin = one.run()
        self.add(item, digests, origin, new=True)
        del self._under_way[path]
