"""``python -m local_opus.watch --scope S --config FOLDER --state FOLDER``: the monitor's unit.

One look; what it saw is added to the state. The exit code is 3 where a server is to be started
anew: the unit has then failed, and what systemd starts for that finds the mark of this very run in
the folder. A monitor that fails itself leaves no mark, so that no server is ended for it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from local_opus.errors import ExitCode, LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations, locate
from local_opus.monitor import history, metrics, settings, state
from local_opus.monitor.history import History
from local_opus.monitor.looking import Monitor
from local_opus.monitor.sight import Look, Seen
from local_opus.report import errors
from local_opus.values import Scope


def main(arguments: Sequence[str] | None = None) -> int:
    """Look once; return the exit code."""
    parser = argparse.ArgumentParser(prog="local_opus.watch", description=__doc__)
    parser.add_argument("--scope", required=True, choices=[*Scope])
    parser.add_argument("--config", required=True, help="the folder of the server's config")
    parser.add_argument("--state", required=True, help="the monitor's own folder")
    given = parser.parse_args(arguments)
    try:
        host = Host()
        # A user's manager may know other XDG folders than the install did.
        places = replace(locate(Scope(given.scope), host.environ), config=given.config)
        return watch(host, places, given.state)
    except LocalOpusError as error:
        errors.tell(error)
        return int(error.exit_code) if error.exit_code != ExitCode.PROBLEM_FOUND else 1
    except OSError as error:
        what = f"{error.filename}: " if error.filename is not None else ""
        errors.tell(
            LocalOpusError(
                f"{what}{(error.strerror or str(error)).lower()}",
                "Look at that path and its permissions; the next look tries again.",
            )
        )
        return int(ExitCode.FAILED)


def watch(host: Host, places: Locations, folder: str) -> int:
    """Look at the server of an install; return 3 where it is to be started anew, else 0.

    Raises LocalOpusError where there is no server, or the folder can't be written.
    """
    # What an earlier look asked for, this one may see otherwise.
    state.withdraw_recovery(host, folder)
    chosen, unread = settings.read_with_note(host, places)
    loaded = state.load(host, folder, host.uptime())
    monitor = Monitor(host, (places,), chosen, float(chosen.interval_seconds), dict(loaded.servers))
    monitor.notes += [one for one in (unread, loaded.note) if one is not None]
    look = monitor.look()
    due = {
        name: one
        for name, one in monitor.histories.items()
        if history.recovery_due(one, chosen, host.uptime())
    }
    for name, one in due.items():
        monitor.histories[name] = history.recovered(one, look.at, host.uptime())
    reasons = "; ".join(reason for one in due.values() if one.last for reason in one.last.reasons)
    text = metrics.render(look, monitor.histories, time.time())
    if due:  # before it is counted as done
        state.ask_recovery(host, folder, reasons, host.environ.get("INVOCATION_ID"))
    try:
        note = state.save(host, folder, monitor.histories, text)
    except LocalOpusError:
        state.withdraw_recovery(host, folder)
        raise
    if note is not None:
        errors.note(f"note: {note}")
    _tell(look, loaded.servers)
    if not due:
        return int(ExitCode.DONE)
    errors.note(
        f"{places.scope.value}: sick for {chosen.sick_after} looks: it is started anew: {reasons}"
    )
    return int(ExitCode.PROBLEM_FOUND)


def _tell(look: Look, before: dict[str, History]) -> None:
    """Print what is new: a healthy server says nothing, however often it is looked at."""
    from local_opus.report import monitor as report  # noqa: PLC0415 - rich; most looks say nothing

    for seen in look.servers:
        last = before[seen.server].last if seen.server in before else None
        if last is None or _gist(last) != _gist(seen):
            errors.note(report.line(seen))
    for note in look.notes:
        errors.note(f"note: {note}")


def _gist(seen: Seen) -> object:
    """Return what makes a look new; the figures within its words change all the time."""
    words = (*seen.reasons, *seen.warnings)
    return seen.condition, [word.partition(":")[0] for word in words]


if __name__ == "__main__":
    sys.exit(main())
