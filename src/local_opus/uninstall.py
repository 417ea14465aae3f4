"""The way back: every action reverted, then what only this program can have left."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from local_opus import receipts, state, stored, whereabouts
from local_opus.actions.create_folder import CreateFolder
from local_opus.catalog import own
from local_opus.history import Entry, Event
from local_opus.host import Host
from local_opus.journal import Journal, Listener
from local_opus.keys import cloud
from local_opus.locations import Locations
from local_opus.opening import open_journal
from local_opus.refusals import explained
from local_opus.report.reporter import Reporter
from local_opus.reverting import WayBack


@dataclass
class Removed:
    """What an uninstall left: what the user edited, and bytes of weights in the store."""

    kept: list[str] = field(default_factory=list)
    weights_left: int = 0
    nothing: bool = False


@dataclass(frozen=True)
class Step:
    """One action that would be taken back."""

    step: str
    summary: str


@dataclass(frozen=True)
class Forecast:
    """What an uninstall would do: its steps in their order, and what would stay."""

    steps: tuple[Step, ...] = ()
    kept: tuple[str, ...] = ()
    weights_left: int = 0
    weights_removed: int = 0


def forecast(host: Host, locations: Locations, *, purge: bool) -> Forecast:
    """Return what ``uninstall`` would do; nothing is changed, and nobody is waited for.

    Raises LocalOpusError as ``uninstall`` does.
    """
    with explained(locations.state):
        return _forecast(host, locations, purge=purge)


def _forecast(host: Host, locations: Locations, *, purge: bool) -> Forecast:
    journal = None
    if host.files.stat(locations.receipt) is not None:
        journal = open_journal(host, locations)
    kept, removed, left = [], 0, stored.size(host, locations)
    if purge:
        fetched = stored.fetches(journal.receipt, locations) if journal else ()
        ours, foreign = stored.sort_out(host, locations, fetched)
        kept, removed = [*foreign.values()], sum(ours.values())
        left -= removed
    steps: list[Step] = []
    if not purge:
        kept += [*_pinned(host, locations), *_cloud_keys(host, locations)]
    elif own.is_there(host, locations):
        steps.append(Step("pinned", f"the models that were pinned, {locations.own_catalog}"))
    if journal is None:
        return Forecast(tuple(steps), tuple(kept), left, removed)
    active = journal.in_turn(one for one in journal.history.entries if one.active)
    # As in the way back itself: the folders come last, and those that hold weights stay.
    for entry in sorted(active, key=_is_folder):
        if _stays(host, locations, entry, purge=purge, weights=left):
            continue
        edit = journal.edit_of(entry)
        if edit is None:
            steps.append(Step(entry.id, journal.of(entry).summary()))
        else:
            kept.append(edit)
    kept += [_set_aside(path) for path in receipts.set_aside(host, locations.receipt)]
    return Forecast(tuple(steps), tuple(kept), left, removed)


def uninstall(host: Host, locations: Locations, *, purge: bool, tell: Reporter) -> Removed:
    """Revert the receipt; with ``purge`` the store, pinned models and keys of clouds go too.

    Raises LocalOpusError.

    While weights or such keys stay, so do the folders that hold them, and the receipt that says who
    made those.
    """
    with explained(locations.state):
        return _uninstall(host, locations, purge=purge, tell=tell)


def _uninstall(host: Host, locations: Locations, *, purge: bool, tell: Reporter) -> Removed:
    whereabouts.require(host, locations)
    with state.held_if_there(host, locations) as is_there:
        if not is_there:
            removed = Removed(nothing=True)
            if purge:
                removed.kept += stored.purge(host, locations)
                own.remove(host, locations)
            removed.kept += _pinned(host, locations)
            removed.weights_left = stored.size(host, locations)
            return removed
        listener = Listener(tell.started, tell.progress, tell.finished)
        journal = open_journal(host, locations, listener, held=True)
        removed = _revert(host, locations, journal, purge=purge)
        removed.weights_left = stored.size(host, locations)
        if not removed.weights_left and not cloud.kept_here(host, locations):
            state.leave(host, locations, journal.receipt)
        elif not journal.history.left:
            journal.receipt.append(Event.LEFT)
        removed.kept += [_set_aside(path) for path in receipts.set_aside(host, locations.receipt)]
    return removed


def _revert(host: Host, locations: Locations, journal: Journal, *, purge: bool) -> Removed:
    removed = Removed(nothing=True)

    def wanted(entry: Entry, *, folders: bool) -> bool:
        if _is_folder(entry) is not folders:
            return False
        if _stays(host, locations, entry, purge=purge, weights=stored.size(host, locations)):
            return False
        removed.nothing = False
        return True

    way = WayBack(journal)
    way.revert(partial(wanted, folders=False))
    # The store goes once nothing uses it, and before the folders that it lies in.
    fetched = stored.fetches(journal.receipt, locations)
    if purge:
        removed.kept += stored.purge(host, locations, fetched)
        own.remove(host, locations)
        cloud.remove_all(host, locations)
    else:
        stored.drop_empty(host, fetched)
    way.revert(partial(wanted, folders=True))
    removed.kept += way.end().kept
    removed.kept += [*_pinned(host, locations), *_cloud_keys(host, locations)]
    return removed


def _stays(host: Host, locations: Locations, entry: Entry, *, purge: bool, weights: int) -> bool:
    """Whether an entry is a cloud's key that is kept, or a folder that holds such or weights."""
    clouds = () if purge else cloud.kept_here(host, locations)
    if clouds and cloud.is_of_cloud(entry.id):
        return True
    held = [locations.models] * bool(weights) + [locations.credentials] * bool(clouds)
    return any(_holds(entry, path) for path in held)


def _is_folder(entry: Entry) -> bool:
    return entry.kind == CreateFolder.kind


def _holds(entry: Entry, folder: str) -> bool:
    """Whether an entry is a folder that ``folder`` lies in, or is it."""
    path = f"{entry.params.get('path')}/"
    return _is_folder(entry) and f"{folder}/".startswith(path)


def _pinned(host: Host, locations: Locations) -> list[str]:
    """Name the file of pinned models where it is there: it is the user's."""
    path = locations.own_catalog
    there = own.is_there(host, locations)
    return [f"{path}: the models that you pinned; --purge removes it"] if there else []


def _cloud_keys(host: Host, locations: Locations) -> list[str]:
    """Name the keys of clouds that are kept: they are the user's, whatever is installed."""
    return [
        f"{locations.credentials}: your key of {name}; --purge removes it"
        for name in cloud.kept_here(host, locations)
    ]


def _set_aside(path: str) -> str:
    return f"{path}: a damaged receipt; nothing here reads it, so remove it when you want"
