"""How keys are changed: one run at a time, each change in the journal, and no key in there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from local_opus import control, node, node_settings, state, whereabouts
from local_opus.apply import Applier
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.journal import Journal, Outcome
from local_opus.keys import giving, sealing, store
from local_opus.locations import MONITOR_UNIT, Locations
from local_opus.opening import open_journal
from local_opus.planner import keys as planning
from local_opus.refusals import explained
from local_opus.reverting import revert_one
from local_opus.values import PlannedAction


@dataclass(frozen=True)
class Change:
    """A change of an install's keys that is under way; its state folder is held."""

    host: Host
    locations: Locations
    journal: Journal

    def prepare(self, *names: str) -> None:
        """Record that credentials of these names are kept from now on."""
        sealed = sealing.problem(self.host, self.locations.scope) is None
        for planned in planning.keeping(self.locations, names, sealed=sealed):
            if planned.kind == "make_host_key":
                with suppress(LocalOpusError):  # then nothing is encrypted, and `write` says why
                    self._ensure(planned)
            else:
                self._ensure(planned)

    def require_unedited(self) -> None:
        """Raise LocalOpusError where ``want`` or ``want_no_more`` meets a file that was edited.

        Asked before the keys are written: what comes after can keep keys that nobody is shown, or
        leave a server that wants those it is not given.
        """
        for id_ in (planning.WANTED, *map(planning.drop_in_id, self._units())):
            self._require_unedited(id_)

    def want(self) -> None:
        """Have the server want keys: its unit is given them, and its configs say so.

        In this order: from the first moment it is given them it opens to nobody without one.
        """
        given = {self.locations.unit: store.API_KEYS, MONITOR_UNIT: store.NODE_KEY}
        text = giving.template()
        contents = {}
        for unit, name in given.items():
            kept = store.find(self.host, self.locations, name)
            if kept is not None:
                contents[unit] = giving.drop_in((kept,), text)
        for planned in (
            *planning.places(self.locations),
            *planning.drop_ins(self.locations, contents),
            planning.mark(self.locations),
        ):
            self._ensure(planned)

    def want_no_more(self) -> None:
        """Have the server ask for no key: the keys stay where they are."""
        ids = [planning.WANTED]
        for unit in self._units():
            ids += [planning.drop_in_id(unit), f"folder:{unit}.d"]
        self.forget(*ids)

    def forget(self, *ids: str) -> None:
        """Take back what these actions did, where they did something."""
        for id_ in ids:
            entry = self.journal.history.get(id_)
            if entry is not None and entry.active:
                revert_one(self.journal, entry, Outcome(), for_good=False)

    def _units(self) -> tuple[str, str]:
        return (self.locations.unit, MONITOR_UNIT)

    def _require_unedited(self, id_: str) -> None:
        entry = self.journal.history.get(id_)
        if entry is not None and (edit := self.journal.edit_of(entry)) is not None:
            raise LocalOpusError(edit, "Move that file away, then run this again.")

    def _ensure(self, planned: PlannedAction) -> None:
        self._require_unedited(planned.id)
        # Of no plan: it outlives upgrades and other profiles, and goes with the install.
        Applier(self.journal).ensure(planned, outside=True)


@contextmanager
def begin(host: Host, locations: Locations) -> Iterator[Change]:
    """Hold the install, made where there is none yet. Raises LocalOpusError as an install does."""
    whereabouts.require(host, locations)
    held = state.held(host, locations)
    with explained(locations.state), held, explained(locations.receipt):
        yield Change(host, locations, open_journal(host, locations, held=True))


def restart(host: Host, locations: Locations) -> bool:
    """Have a server that runs take the keys as they are now; return whether one runs.

    systemd reads credentials when it starts a service, so it is started anew. Raises LocalOpusError
    where it does not come up, or answers without a key although one is wanted; what was changed
    stays.
    """
    running = node.serving(host, locations)
    if running is None:
        return False
    wanted = giving.wanted(host, locations)
    try:
        control.restart(host, locations)
        if running.how == "systemd":
            _restart_monitor(host, locations)
    except LocalOpusError as error:
        if not wanted:
            raise LocalOpusError(
                f"no key is wanted, and the server did not start: {error.message}",
                "See `local-opus doctor`.",
            ) from error
        raise LocalOpusError(
            f"the keys are kept, and the server did not start with them: {error.message}",
            "See `local-opus doctor`, or ask for none: `local-opus keys require off`.",
        ) from error
    if wanted:
        _require_closed(host, locations)
    return True


def _require_closed(host: Host, locations: Locations) -> None:
    """Raise LocalOpusError where the server answers who has no key: one that knows of none."""
    address, port = node_settings.address(host, locations)
    if not host.network.wants_key(address, port):
        raise LocalOpusError(
            f"http://{address}:{port}/health: answers without a key: the server that is installed "
            "is of a version that knows none",
            "Run `local-opus upgrade`; till then whoever reaches the port can use it.",
        )


def _restart_monitor(host: Host, locations: Locations) -> None:
    if host.services.property(locations.scope, MONITOR_UNIT, "ActiveState") == "active":
        host.services.do(locations.scope, "restart", MONITOR_UNIT)
