"""The journal of the install that lies where its folders are sought."""

from __future__ import annotations

from local_opus import whereabouts
from local_opus.actions import build
from local_opus.host import Host
from local_opus.journal import Journal, Listener
from local_opus.locations import Locations


def open_journal(
    host: Host, locations: Locations, listener: Listener | None = None, *, held: bool = False
) -> Journal:
    """Open it; ``held`` as for ``Receipt``. Raises as ``whereabouts.receipt`` does."""
    receipt = whereabouts.receipt(host, locations, held=held)
    return Journal(host, receipt, build, locations.roots, listener or Listener(), locations.scope)
