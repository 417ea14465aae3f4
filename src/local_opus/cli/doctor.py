"""``doctor``: what keeps this machine from serving, and what to do."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.scope
@options.as_json
def command(*, scope: str | None, as_json: bool) -> int:
    """Ask every check: devices, machine, install, model, server; each with evidence and a fix.

    Exit code 3 where one fails; a warning is no failure. The JSON of --json is described by
    docs/doctor.schema.json.
    """
    import json

    from rich.console import Console

    from local_opus import doctor
    from local_opus.cli.context import find_install, open_host
    from local_opus.report import doctor as show

    host = open_host()
    locations = find_install(host, scope)
    with show.Progress(Console(stderr=True)) as progress:
        found = doctor.examine(host, locations, progress.tell)
    if as_json:
        click.echo(json.dumps(show.diagnosis_json(found), indent=2))
    else:
        show.show(found, Console())
    return int(found.exit_code)
