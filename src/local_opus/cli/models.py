"""``models``: the catalog and the store."""

from __future__ import annotations

import click

from local_opus.cli import options
from local_opus.cli.sign import command as sign


@click.group()
def command() -> None:
    """See what models there are, what fits this machine, and what is in the store."""


@command.command("list")
@options.option(
    "--device",
    shell_complete=options.complete_device,
    default="auto",
    show_default=True,
    help="auto, CPU, GPU or NPU.",
)
@options.option("--fitting", is_flag=True, help="Only models that fit this machine.")
@options.scope
@options.as_json
def list_models(*, device: str, fitting: bool, scope: str | None, as_json: bool) -> None:
    """Show every model of the catalog: what fits this machine, and why the rest does not."""
    import json

    from rich.console import Console

    from local_opus import shelf
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.given import parse_device
    from local_opus.report import models as show

    host = open_host()
    rows = shelf.rows(host, find_install(host, scope), parse_device(device))
    rows = [row for row in rows if row.fit.fits or not fitting]
    if as_json:
        click.echo(json.dumps(show.models_json(rows), indent=1))
    else:
        show.models_table(Console(), rows)


@command.command("show")
@click.argument("model", shell_complete=options.complete_model)
@options.scope
@options.as_json
def show_model(model: str, scope: str | None, *, as_json: bool) -> None:
    """Show all that is known of MODEL: files, digests, licence, needs, sources."""
    import json

    from rich.console import Console

    from local_opus import shelf
    from local_opus.cli.context import find_install, open_host
    from local_opus.report import models as show

    host = open_host()
    row = shelf.row(host, find_install(host, scope), model)
    if as_json:
        click.echo(json.dumps(show.model_json(row), indent=1))
    else:
        show.model_details(Console(), row)


@command.command("pull")
@click.argument("model", shell_complete=options.complete_model)
@options.scope
@options.as_json
def pull(model: str, scope: str | None, *, as_json: bool) -> None:
    """Bring MODEL into the store, proven and converted, without serving it."""
    from rich.markup import escape

    from local_opus import shelf
    from local_opus.cli.context import find_install, open_host
    from local_opus.report import reporter

    host = open_host()
    tell = reporter.make(as_json=as_json)
    try:
        folders = shelf.pull(host, find_install(host, scope), model, tell)
    finally:
        tell.close()
    for folder in folders:
        tell.say(escape(folder))


@command.command("remove")
@click.argument("model", shell_complete=options.complete_model)
@options.option("--yes", is_flag=True, help="Do not ask.")
@options.scope
def remove(model: str, scope: str | None, *, yes: bool) -> None:
    """Remove MODEL from the store; one that the installed server loads stays."""
    from local_opus import shelf
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.prompts import confirm

    host = open_host()
    locations = find_install(host, scope)
    folder = shelf.removable(host, locations, model)
    confirm(f"Remove {folder}?", yes=yes)
    freed = shelf.remove(host, locations, model)
    click.echo(f"{folder}: removed, {freed / 1024**3:.2f} GiB freed")


command.add_command(sign, "sign")
