"""``status``: what runs."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.scope
@options.as_json
def command(scope: str | None, *, as_json: bool) -> int:
    """Show what runs, which model really answers, and where.

    Exit code 3 when nothing serves that should, or a node without a server drifted; 0 with a
    problem that is told beside a server that serves.
    """
    import json

    from local_opus import control, node_status
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import ExitCode

    host = open_host()
    found = control.status(host, find_install(host, scope))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        from rich.console import Console

        from local_opus.report import status

        status.show(found, Console(highlight=False))
    is_well = found.get("ready") or node_status.is_sound(found)
    return int(ExitCode.DONE if is_well else ExitCode.PROBLEM_FOUND)
