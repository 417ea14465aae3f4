"""``logs``: what the units of the node printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.locations import Locations


@click.command()
@options.scope
@options.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True,
                help="Lines to show.")  # fmt: skip
@options.option("-f", "--follow", is_flag=True, help="Show what is printed from now on, too.")
@options.option(
    "--since",
    default=None,
    metavar="TIME",
    help='From a time on: "2 hours ago", today, 14:30, "2026-01-31 14:30".',
)
@options.option("--unit", type=click.Choice(["server", "monitor", "tune", "all"]),
                default="server", show_default=True, help="Whose.")  # fmt: skip
def command(scope: str | None, lines: int, since: str | None, unit: str, *, follow: bool) -> None:
    """Show the last lines that the server, or another unit of the node, printed.

    They are in systemd's journal; without systemd the server writes a file, which is kept below
    10 MiB, with one older part.
    """
    from local_opus import node_units
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import BadInputError, LocalOpusError

    host = open_host()
    locations = find_install(host, scope)
    if host.services.running(locations.scope) and node_units.there(host, locations):
        _journal(host, locations, unit, lines, since, follow=follow)
    elif host.files.stat(locations.server_log) is not None:
        if unit not in {"server", "all"}:
            raise BadInputError(
                f"--unit {unit}: without systemd there is the server alone",
                "Leave --unit away.",
            )
        _file(host, locations, lines, since, follow=follow)
    else:
        raise LocalOpusError(f"{locations.server_log}: no log yet", "Start it: `local-opus start`.")


def _file(host: Host, locations: Locations, lines: int, since: str | None, *, follow: bool) -> None:
    from local_opus import log_reading

    found = log_reading.tail(host, locations.server_log, lines, since)
    if found:
        click.echo("\n".join(found))
    if follow:
        from local_opus.report import streams

        for text in log_reading.follow(host, locations.server_log):
            click.echo(text, nl=False)
            if streams.lost() is not None or streams.reader_left():
                return


def _journal(
    host: Host, locations: Locations, unit: str, lines: int, since: str | None, *, follow: bool
) -> None:
    from local_opus import log_reading

    units = log_reading.units_of(locations, unit)
    # First, also where journalctl takes over: it does not say what a user has to do.
    text = log_reading.journal(host, locations.scope, units, 1 if follow else lines, since)
    if follow:
        command = log_reading.journal_command(locations.scope, units, lines, since, follow=True)
        os.execvp(command[0], command)  # noqa: S606 - its Ctrl-C, its end
    if text:
        click.echo(text, nl=False)
    else:
        click.echo("No entries.", err=True)
