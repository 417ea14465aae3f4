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
    elif not (found["installed"] or found["running"]):
        click.echo(f"No server: {found['problem']}")
    else:
        # None: without a sound config nobody knows where to ask it.
        unready = "running" if found["ready"] is None else "loading"
        up = "ready" if found["ready"] else unready
        who = f" (PID {found['pid']}, {found['how']})" if found["pid"] else ""
        click.echo(f"server   {up if found['running'] else 'stopped'}{who}")
        for name in (
            *("url", "model", "device", "tuned", "weights", "config", "log", "sandbox"),
            *("problem", "fix"),
        ):
            if found.get(name):
                click.echo(f"{name:<8} {as_typed(str(found[name]))}")
        units = found.get("units")
        for unit in units if isinstance(units, list) else []:
            if isinstance(unit, dict) and unit["active"] == "failed":
                click.echo(f"failed   {unit['name']}: {as_typed(str(unit['reason']))}")
        if found.get("url") and not found["running"]:
            click.echo(as_typed("Start it with `local-opus start`."))
    return int(ExitCode.DONE if found.get("ready") else ExitCode.PROBLEM_FOUND)
