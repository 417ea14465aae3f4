"""``logs``: what the server printed."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.scope
@options.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True,
                help="Lines to show.")  # fmt: skip
def command(scope: str | None, lines: int) -> None:
    """Show the last lines that the server printed."""
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import LocalOpusError
    from local_opus.locations import UNIT

    host = open_host()
    locations = find_install(host, scope)
    if host.files.stat(locations.server_log) is not None:
        text = host.files.read_text(locations.server_log)
        click.echo("\n".join(text.splitlines()[-lines:]))
        return
    if not host.services.running(locations.scope):
        raise LocalOpusError(f"{locations.server_log}: no log yet", "Start it: `local-opus start`.")
    user = ["--user"] if locations.scope.value == "user" else []
    done = host.processes.run(
        ["journalctl", *user, "--no-pager", "-u", UNIT, "-n", str(lines)], timeout=30
    )
    click.echo(done.out or done.err)
