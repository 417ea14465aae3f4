"""``start``: start the installed server."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.scope
def command(scope: str | None) -> None:
    """Start the server and wait until it is ready."""
    from local_opus import control
    from local_opus.cli.context import find_install, open_host
    from local_opus.report import reporter

    host = open_host()
    tell = reporter.make()
    locations = find_install(host, scope)
    tell.started("start", "start the server")
    try:
        already, where, answer = control.start(
            host, locations, lambda waited: tell.progress("load the model", int(waited), None)
        )
    finally:
        tell.close()
    state = "runs already" if already else "runs"
    tell.say(f"The server {state}: http://{where.host}:{where.port}, model {answer.get('model')}")
    if answer.get("config_problem"):
        tell.say(f"Warning: {answer['config_problem']}")
