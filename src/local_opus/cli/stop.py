"""``stop``: stop the installed node."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.scope
def command(scope: str | None) -> None:
    """Stop the node; requests that run are ended within seconds."""
    from local_opus import control
    from local_opus.cli.context import find_install, open_host

    host = open_host()
    stopped = control.stop(host, find_install(host, scope))
    click.echo(f"Stopped (PID {stopped.pid})." if stopped else "No server was running.")
