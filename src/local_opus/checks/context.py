"""What the checks look at: the host, its facts, and what the receipt says is installed.

What several checks need is made once, by the first that asks; the others wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from local_opus import control, node_settings, stock
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.catalog import needs
from local_opus.catalog.engine_memory import BATCH, kv_value_bytes
from local_opus.catalog.needs import Serving
from local_opus.catalog.own import load_all as load_catalog
from local_opus.checks.base import NotApplicableError
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.facts import gather
from local_opus.history import Entry, History
from local_opus.host import Host, locks
from local_opus.journal import Journal
from local_opus.locations import UNIT, Locations
from local_opus.opening import open_journal
from local_opus.planner.units import SERVICE
from local_opus.receipts import is_there
from local_opus.server.settings import Settings
from local_opus.values import Device, HostFacts, Model

_Made = TypeVar("_Made")
#: Seconds for OpenVINO to name its devices; after a failure the CPU alone is asked once more.
PROBE_SECONDS = 10.0
#: Any size of a head will do to ask whether a precision is known.
_HEAD = 64


class Once(Generic[_Made]):
    """Something that is made when it is first asked for; what that raises, every asker gets."""

    def __init__(self, make: Callable[[], _Made]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[_Made] = []
        self._error: Exception | None = None

    def __call__(self) -> _Made:
        """Return it. Raises what making it raised."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if not self._made:
                try:
                    self._made.append(self._make())
                except Exception as error:
                    self._error = error
                    raise
            return self._made[0]


def begin(what: Once[_Made]) -> Once[_Made]:
    """Have something made from now on, in a thread that keeps nobody from ending the program.

    Unlike one of a pool, for which Python waits at its end: a driver may hang in there.
    """

    def make() -> None:
        with suppress(Exception):  # who asks for it gets what it raises
            what()

    threading.Thread(target=make, daemon=True).start()
    return what


@dataclass(frozen=True)
class Context:
    """What every check is given.

    ``read_facts``, ``read_journal`` and ``read_settings`` raise what reading raises; the methods
    raise NotApplicableError instead, in the words for a check that rests on them.
    """

    host: Host
    locations: Locations
    read_facts: Once[HostFacts]
    #: None: nothing is installed.
    read_journal: Once[Journal | None]
    read_settings: Once[Settings]

    def facts(self) -> HostFacts:
        """Return the host facts."""
        try:
            return self.read_facts()
        except LocalOpusError as error:
            raise NotApplicableError(f"the host facts are not known: {error.message}") from error

    def journal(self) -> Journal:
        """Return the journal of the install."""
        try:
            journal = self.read_journal()
        except PermissionError as error:
            raise NotApplicableError("the receipt is closed to this user") from error
        except (LocalOpusError, OSError) as error:
            raise NotApplicableError("the receipt can't be read: see its own check") from error
        if journal is None:
            raise NotApplicableError(f"nothing is installed in the scope {self.scope}")
        return journal

    def history(self) -> History:
        """Return where each action of the install stands."""
        return self.journal().history

    def environment(self) -> CreateEnvironment:
        """Return the action that made the environment in use."""
        journal = self.journal()
        for entry in reversed(journal.history.entries):
            if entry.kind == CreateEnvironment.kind:
                action = journal.of(entry)
                if isinstance(action, CreateEnvironment):
                    return action
        raise NotApplicableError("the install has no environment")

    def has_server(self) -> bool:
        """Whether the receipt says that a server was installed."""
        return any(_is_server(entry) for entry in self.history().entries)

    def require_server(self) -> None:
        """Raise NotApplicableError where the install has no server."""
        if not self.has_server():
            raise NotApplicableError("this install has no server")

    def settings(self) -> Settings:
        """Return the settings of the installed server."""
        try:
            return self.read_settings()
        except BadInputError as error:
            raise NotApplicableError("its config can't be read: see the check of it") from error
        except LocalOpusError as error:
            if isinstance(error.__cause__, PermissionError):
                raise NotApplicableError("the config is closed to this user") from error
            raise NotApplicableError("no server is installed") from error

    def serving(self, requests: int | None = None) -> Serving:
        """Return the context that the server allows, and as many requests: None, all it allows."""
        where = self.settings()
        precision = where.openvino.get("KV_CACHE_PRECISION")
        if precision is not None:
            try:
                kv_value_bytes(str(precision), _HEAD)
            except ValueError as error:
                raise NotApplicableError(
                    f"the server's KV_CACHE_PRECISION is {precision}, which is not known"
                ) from error
        return Serving(
            requests=where.max_concurrent if requests is None else requests,
            context=where.context_length,
            cache_size_gb=where.cache_size_gb,
            kv_precision=None if precision is None else str(precision),
            batch=where.max_num_batched_tokens or BATCH,
        )

    def need(self) -> int | None:
        """Return the bytes that the model takes for one request on the CPU; None: no model."""
        try:
            model, serving = self.model(), self.serving(requests=1)
        except NotApplicableError:
            return None
        sized = stock.dimensions_of(self.host, self.locations, model)
        return needs.serving(sized or model, serving).bytes

    def at_work(self) -> bool:
        """Whether a run holds the lock of the install now."""
        try:
            return locks.is_held(self.host.files, self.locations.lock)
        except OSError:  # no lock, or one that is closed to this user
            return False

    def model(self) -> Model:
        """Return the catalog's entry of the model that the server serves."""
        name = self.settings().model
        try:
            return load_catalog(self.host, self.locations).get(name)
        except LocalOpusError as error:
            raise NotApplicableError(f"{name} is not in the catalog of this version") from error

    def device(self) -> Device:
        """Return the kind of the device that the server is set to."""
        name = self.settings().device
        kind = name.partition(".")[0]
        if kind not in [*Device]:
            raise NotApplicableError(f"the server is set to {name}, which chooses by itself")
        return Device(kind)

    def used_device(self) -> str | None:
        """Return the device that the server is set to; None: there is no server, or no telling."""
        try:
            return self.settings().device
        except NotApplicableError:
            return None

    @property
    def scope(self) -> str:
        """The scope's word."""
        return self.locations.scope.value


def _is_server(entry: Entry) -> bool:
    """Whether an entry of the receipt is a server's: the start of a node may be of others alone."""
    units = entry.params.get("units")
    starts = entry.id == SERVICE and (not isinstance(units, list) or UNIT in units)
    return starts or entry.id in {"unit", f"unit:{UNIT}"}  # the first: of older versions


def look(host: Host, locations: Locations) -> Context:
    """Return the context of an install on this machine; nothing is read yet."""
    with suppress(LocalOpusError, OSError):  # a damaged receipt: the check of it tells
        control.use_installed_workers(host, locations)

    def journal() -> Journal | None:
        if not is_there(host, locations.receipt):
            return None
        found = open_journal(host, locations)
        return None if found.history.left else found

    return Context(
        host,
        locations,
        Once(lambda: gather(host, disk_path=locations.models, probe_timeout=PROBE_SECONDS)),
        Once(journal),
        Once(lambda: node_settings.settings(host, locations)),
    )
