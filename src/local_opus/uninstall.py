"""The way back: every action reverted, then what only this program can have left."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from local_opus import receipts, state, stored, whereabouts
from local_opus.actions import build
from local_opus.actions.create_folder import CreateFolder
from local_opus.history import Entry, Event
from local_opus.host import Host
from local_opus.journal import Journal, Listener
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.refusals import explained
from local_opus.report.reporter import Reporter
from local_opus.reverting import WayBack


@dataclass
class Removed:
    """What an uninstall left: what the user edited, and bytes of weights in the store."""

    kept: list[str] = field(default_factory=list)
    weights_left: int = 0
    nothing: bool = False


def uninstall(host: Host, locations: Locations, *, purge: bool, tell: Reporter) -> Removed:
    """Revert the receipt; with ``purge`` remove the store too. Raises LocalOpusError.

    While weights stay, so do the folders that hold them, and the receipt that says who made those.
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
            removed.weights_left = stored.size(host, locations)
            return removed
        receipt = whereabouts.receipt(host, locations, held=True)
        removed = _revert(host, locations, receipt, tell, purge=purge)
        removed.weights_left = stored.size(host, locations)
        if not removed.weights_left:
            state.leave(host, locations, receipt)
        elif not receipt.history.left:
            receipt.append(Event.LEFT)
        removed.kept += [
            f"{path}: a damaged receipt; nothing here reads it, so remove it when you want"
            for path in receipts.set_aside(host, locations.receipt)
        ]
    return removed


def _revert(
    host: Host, locations: Locations, receipt: Receipt, tell: Reporter, *, purge: bool
) -> Removed:
    removed = Removed(nothing=True)

    def wanted(entry: Entry, *, folders: bool) -> bool:
        is_folder = entry.kind == CreateFolder.kind
        holds_store = is_folder and f"{locations.models}/".startswith(f"{entry.params['path']}/")
        if is_folder is not folders or (holds_store and stored.size(host, locations)):
            return False
        removed.nothing = False
        return True

    listener = Listener(tell.started, tell.progress, tell.finished)
    journal = Journal(host, receipt, build, locations.roots, listener, locations.scope)
    way = WayBack(journal)
    way.revert(partial(wanted, folders=False))
    # The store goes once nothing uses it, and before the folders that it lies in.
    fetched = stored.fetches(receipt, locations)
    if purge:
        removed.kept += stored.purge(host, locations, fetched)
    else:
        stored.drop_empty(host, fetched)
    way.revert(partial(wanted, folders=True))
    removed.kept += way.end().kept
    return removed
