"""``status``: what runs."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.scope
@options.as_json
def command(scope: str | None, *, as_json: bool) -> int:
    """Show what runs, which model really answers, and where. Exit code 3 when nothing serves."""
    import json

    from local_opus import control
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import ExitCode
    from local_opus.invocation import as_typed

    host = open_host()
    found = control.status(host, find_install(host, scope))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found.get("url"):
        click.echo(f"No server: {found.get('note')}")
    else:
        state = "ready" if found["ready"] else "loading" if found["running"] else "stopped"
        click.echo(
            f"server   {state}" + (f" (PID {found['pid']}, {found['how']})" if found["pid"] else "")
        )
        for name in ("url", "model", "device", "weights", "config", "log", "sandbox"):
            if found.get(name):
                click.echo(f"{name:<8} {found[name]}")
        if not found["running"]:
            click.echo(as_typed("Start it with `local-opus start`."))
    return int(ExitCode.DONE if found.get("ready") else ExitCode.PROBLEM_FOUND)
