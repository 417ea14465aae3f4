"""Set what was chosen when the node starts, and take it back when it stops.

Under systemd that is the unit local-opus-tune.service (``local_opus.tune_service``); without, the
start and the stop of the server do it, as root in the system scope.
"""

from __future__ import annotations

from contextlib import suppress

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import UNIT, Locations
from local_opus.machine import setting, standing
from local_opus.values import Scope


def start(host: Host, locations: Locations, by: str) -> setting.Applied:
    """Set what machine.json chose. Raises LocalOpusError and OSError; then nothing is set.

    What a killed measurement or a former start left is taken back in any case.
    """
    try:
        found = standing.tuned(host, locations)
    except (LocalOpusError, OSError):
        setting.take_back(host, locations)
        raise
    return setting.apply(host, locations, found.knobs if found is not None else (), by)


def stop(host: Host, locations: Locations) -> setting.TakenBack:
    """Put back what is set. Raises LocalOpusError for what can't be."""
    return setting.take_back(host, locations, note=True)


def start_beside(host: Host, locations: Locations) -> None:
    """Set it beside a server that is started without systemd.

    The server runs without it as well: what is wrong is for ``status`` and ``doctor`` to tell, who
    read the same files.
    """
    if _is_ours_to_set(host, locations):
        with suppress(LocalOpusError, OSError):
            start(host, locations, "server")


def stop_beside(host: Host, locations: Locations) -> None:
    """Put it back when such a server was stopped. Raises LocalOpusError for what can't be."""
    if _is_ours_to_set(host, locations):
        stop(host, locations)


def _is_ours_to_set(host: Host, locations: Locations) -> bool:
    """Whether this is root, the server is the installed one, and nobody else sets it."""
    own = locations.scope is Scope.SYSTEM and locations.unit == UNIT and not host.is_image
    return own and host.euid == 0 and not host.services.running(locations.scope)
