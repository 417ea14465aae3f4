"""``monitor``: watch every server of the node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Group

    from local_opus.host import Host
    from local_opus.monitor.looking import Monitor
    from local_opus.monitor.sight import Look

    #: Keeps a look, and returns it with what hindered that.
    Keep = Callable[[Look], Look]

#: Seconds between two looks of a person's; the unit's own are further apart.
_INTERVAL = 5


@click.command()
@options.option(
    "--scope",
    type=click.Choice(["system", "user"]),
    default=None,
    help="Watch the server of one scope. Default: every one that you may see.",
)
@options.option("--interval", type=click.IntRange(1, 3600), default=_INTERVAL, show_default=True,
                help="Seconds between two looks.")  # fmt: skip
@options.option("--once", is_flag=True,
                help="Look once. Exit code 3 when a server neither serves nor loads.")  # fmt: skip
@options.option("--prometheus", is_flag=True, help="Look once, and print Prometheus metrics.")
@options.option(
    "--state",
    type=click.Path(file_okay=False),
    default=None,
    metavar="FOLDER",
    help="Keep the last hour, and metrics.prom, in a folder; the service has its own.",
)
@options.as_json
def command(
    scope: str | None,
    interval: int,
    state: str | None,
    *,
    once: bool,
    prometheus: bool,
    as_json: bool,
) -> int:
    """Watch every server of the node: health, speed, memory, devices, weights.

    A live table on a terminal; JSON lines, one a look, with --json and where there is none. Ctrl-C
    ends it, with exit code 0.
    """
    from local_opus.cli.context import open_host
    from local_opus.errors import BadInputError, ExitCode

    if prometheus and as_json:
        raise BadInputError(
            "--prometheus and --json: each is a form of its own", "Choose one of the two."
        )
    if state == "":  # a script's empty variable, say: not the folder that it runs in
        raise BadInputError("--state: empty", "Name a folder; without the option nothing is kept.")
    host = open_host()
    single = once or prometheus
    monitor, keep = _begin(host, scope, state, None if single else float(interval))
    if single:
        look = keep(monitor.look())
        _print(monitor, look, prometheus=prometheus, as_json=as_json)
        return int(ExitCode.DONE if look.well or prometheus else ExitCode.PROBLEM_FOUND)
    try:
        if as_json or not sys.stdout.isatty():
            _lines(monitor, interval, keep)
        else:
            _live(monitor, interval, keep)
    except KeyboardInterrupt:  # the way in which one ends what has no end of its own, as with ping
        pass
    return int(ExitCode.DONE)


def _begin(
    host: Host, scope: str | None, folder: str | None, interval: float | None
) -> tuple[Monitor, Keep]:
    """Return the monitor with what is known of the last hour, and what keeps a look."""
    import os
    import time

    from local_opus.monitor import kept, metrics, settings, state, targets
    from local_opus.monitor.looking import Monitor
    from local_opus.values import Scope

    scopes = (Scope(scope),) if scope is not None else tuple(Scope)
    places = targets.places_of(host, scopes)
    found = targets.find(host, places)
    chosen, unread = settings.Settings(), None
    if found:
        chosen, unread = settings.read_with_note(host, found[0].locations)
    monitor = Monitor(host, places, chosen, interval)
    if unread is not None:
        monitor.notes.append(unread)
    if folder is None:
        monitor.histories |= kept.histories(host, scopes)
        return monitor, lambda look: look
    path = os.path.abspath(folder)
    loaded = state.load(host, path, host.uptime())
    monitor.histories |= loaded.servers
    if loaded.note is not None:
        monitor.notes.append(loaded.note)

    def keep(look: Look) -> Look:
        text = metrics.render(look, monitor.histories, time.time())
        host.files.make_folders(path)
        note = state.save(host, path, monitor.histories, text)
        return look if note is None else look.model_copy(update={"notes": (*look.notes, note)})

    return monitor, keep


def _print(monitor: Monitor, look: Look, *, prometheus: bool, as_json: bool) -> None:
    if prometheus:
        import time

        from local_opus.monitor import metrics
        from local_opus.report import errors

        for note in look.notes:  # the metrics have no place for words
            errors.note(f"note: {note}")
        click.echo(metrics.render(look, monitor.histories, time.time()), nl=False)
    elif as_json or not sys.stdout.isatty():
        click.echo(look.model_dump_json())
    else:
        from rich.console import Console

        from local_opus.report import monitor as report

        console = Console()
        console.print(report.picture(look, monitor.histories, console, monitor.host.uptime()))


def _lines(monitor: Monitor, interval: int, keep: Keep) -> None:
    """Print a line a look until the reader leaves."""
    from local_opus.report import streams

    for look in map(keep, _looks(monitor, interval)):
        click.echo(look.model_dump_json())
        sys.stdout.flush()
        if streams.reader_left() or streams.lost() is not None:
            return


def _looks(monitor: Monitor, interval: int) -> Iterator[Look]:
    """Yield looks, each ``interval`` seconds after the one before began, or at once when late."""
    import time

    while True:
        begin = time.monotonic()
        yield monitor.look()
        time.sleep(max(0.0, interval - (time.monotonic() - begin)))


def _live(monitor: Monitor, interval: int, keep: Keep) -> None:
    """Show a table that is drawn anew at each look, and when the terminal changes its size."""
    from rich.console import Console
    from rich.live import Live

    from local_opus.report import monitor as report

    console = Console()
    if console.is_dumb_terminal:
        for look in map(keep, _looks(monitor, interval)):
            console.print(report.picture(look, monitor.histories, console, monitor.host.uptime()))
        return
    last: Look | None = None

    def drawn() -> Group | str:
        if last is None:
            return "looking at the servers of this node ..."
        return report.picture(last, monitor.histories, console, monitor.host.uptime())

    try:
        with Live(
            get_renderable=drawn, console=console, screen=True, refresh_per_second=2,
            vertical_overflow="crop",
        ) as live:  # fmt: skip
            for look in map(keep, _looks(monitor, interval)):
                last = look
                live.refresh()
    finally:
        if last is not None:  # the screen of before is back: leave there what was seen last
            console.print(drawn())
