"""``start``: start the installed node."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.scope
def command(scope: str | None) -> None:
    """Start the node, and wait until its server is ready."""
    from local_opus import control
    from local_opus.cli.context import find_install, open_host
    from local_opus.report import reporter

    host = open_host()
    tell = reporter.make()
    locations = find_install(host, scope)
    tell.started("start", "start the server")
    try:
        started = control.start(
            host, locations, lambda waited: tell.progress("load the model", int(waited), None)
        )
    finally:
        tell.close()
    if started is None:
        tell.say("The node is up; it has no server.")
        return
    state, where = "runs already" if started.already else "runs", started.where
    model = started.answer.get("model")
    tell.say(f"The server {state}: http://{where.host}:{where.port}, model {model}")
    if problem := started.answer.get("config_problem"):
        tell.say(f"Warning: {problem}")
