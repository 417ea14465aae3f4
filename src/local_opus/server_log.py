"""What a server printed: why it ended, and what stays of its log where an install is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.host.services import journalctl
from local_opus.last_words import last_words as words_of
from local_opus.locations import Locations

#: Characters from the end of a log that are looked at, and that are kept.
_TAIL, _KEPT = 16_384, 1024 * 1024
#: The command that shows the log, in remedies.
_COMMAND = "`local-opus logs`"


def see(host: Host, locations: Locations) -> str:
    """Return the remedy that leads to the log: a file of ours, or the journal."""
    return f"See {_COMMAND}." if _is_file(host, locations) else f"Look at {_journal(locations)}."


def last_words(host: Host, locations: Locations) -> tuple[str, str]:
    """Return why a server ended, and its remedy, as it said itself."""
    if not _is_file(host, locations):
        return "its log is in the journal", see(host, locations)
    text = host.files.read_text(locations.server_log)[-_TAIL:]
    why, remedy = words_of(text, one_run=False)
    return why or "it printed no error", remedy or see(host, locations)


@contextmanager
def kept(host: Host, locations: Locations) -> Iterator[None]:
    """Where what is done within fails, keep the server's log, and let the remedy name it.

    The failure is followed by a roll-back, which may remove the log and the command that shows it.
    """
    try:
        yield
    except LocalOpusError as error:
        with suppress(OSError):  # what failed is told in any case
            error.remedy = _lasting(host, locations, error.remedy)
        raise


def _lasting(host: Host, locations: Locations, remedy: str) -> str:
    """Return a remedy that leads to the log also when the install is gone."""
    if not _is_file(host, locations):
        return remedy.replace(_COMMAND, _journal(locations))
    copy = host.keep_log("server", host.files.read_text(locations.server_log)[-_KEPT:])
    printed = f"what the server printed: {copy}"
    if _COMMAND in remedy:
        return remedy.replace(_COMMAND, printed)
    return f"{remedy.removesuffix('.')}; {printed}"


def _is_file(host: Host, locations: Locations) -> bool:
    return host.files.stat(locations.server_log) is not None


def _journal(locations: Locations) -> str:
    return f"`{journalctl(locations.scope, locations.unit)} -n 50`"
