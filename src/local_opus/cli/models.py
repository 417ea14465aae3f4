"""``models``: the catalog and the store."""

from __future__ import annotations

import click

from local_opus.cli import options
from local_opus.cli.pin import command as pin
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
    help="auto, CPU, GPU, NPU, or one of several GPUs: GPU.0, GPU.1.",
)
@options.option("--fitting", is_flag=True, help="Only models that fit this machine.")
@options.option("--stored", is_flag=True, help="Only the store: what lies there, and its size.")
@options.scope
@options.as_json
def list_models(
    *, device: str, fitting: bool, stored: bool, scope: str | None, as_json: bool
) -> None:
    """Show every model of the catalog, what fits this machine, and what lies in the store.

    The store also holds models that the catalog does not know, and unfinished downloads.
    """
    import json

    from rich.console import Console

    from local_opus import stock
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.given import parse_device
    from local_opus.report import models as show
    from local_opus.report import store as show_store

    host = open_host()
    locations = find_install(host, scope)
    on = parse_device(device)
    document: dict[str, object] = {}
    if not stored:
        rows = stock.rows(host, locations, on)
        rows = [row for row in rows if row.fit.fits or not fitting]
        document |= show.models_json(rows)
        if not as_json:
            show.models_table(Console(), rows)
    there = stock.take(host, locations)
    if as_json:
        document = {"schema_version": 1, **document, "store": show_store.store_json(there)}
        click.echo(json.dumps(document, indent=1))
    else:
        show_store.store_table(Console(), there)


@command.command("show")
@click.argument("model", shell_complete=options.complete_model)
@options.scope
@options.as_json
def show_model(model: str, scope: str | None, *, as_json: bool) -> None:
    """Show all that is known of MODEL: files, digests, licence, needs, sources."""
    import json

    from rich.console import Console

    from local_opus import stock
    from local_opus.cli.context import find_install, open_host
    from local_opus.report import models as show

    host = open_host()
    row = stock.row_of(host, find_install(host, scope), model)
    if as_json:
        click.echo(json.dumps(show.model_json(row), indent=1))
    else:
        show.model_details(Console(), row)


@command.command("pull")
@click.argument("model", shell_complete=options.complete_model)
@options.accept_license
@options.scope
@options.as_json
def pull(model: str, scope: str | None, *, accept_license: bool, as_json: bool) -> None:
    """Bring MODEL into the store, proven and converted, without serving it."""
    from rich.markup import escape

    from local_opus import shelf
    from local_opus.cli import prompts
    from local_opus.cli.context import find_install, open_host
    from local_opus.report import reporter

    host = open_host()
    locations = find_install(host, scope)
    terms = None if accept_license else shelf.terms(host, locations, model)
    if terms is not None:
        prompts.accept(terms)
        accept_license = True
    tell = reporter.make(as_json=as_json)
    try:
        folders = shelf.pull(host, locations, model, tell, accept_license=accept_license)
    finally:
        tell.close()
    for folder in folders:
        tell.say(escape(folder))


@command.command("remove")
@click.argument("model", shell_complete=options.complete_stored)
@options.option("--yes", is_flag=True, help="Do not ask.")
@options.scope
@options.as_json
def remove(model: str, scope: str | None, *, yes: bool, as_json: bool) -> None:
    """Remove MODEL from the store; one that a server loads stays."""
    import json

    from local_opus import shelf
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.prompts import confirm
    from local_opus.units import size_text

    host = open_host()
    locations = find_install(host, scope)
    folder = shelf.removable(host, locations, model)
    confirm(f"Remove {folder}?", yes=yes, dry_run=False)
    freed = shelf.remove(host, locations, model)
    if as_json:
        document = {"schema_version": 1, "model": model, "folder": folder, "freed": freed}
        click.echo(json.dumps(document, indent=1))
    else:
        # What another model holds by a hard link frees nothing.
        words = f"{size_text(freed)} freed" if freed else "nothing freed, for its files are shared"
        click.echo(f"{folder}: removed, {words}")


@command.command("prune")
@options.option("--yes", is_flag=True, help="Do not ask.")
@options.option("--dry-run", is_flag=True, help="Print what would go and change nothing.")
@options.scope
@options.as_json
def prune(*, yes: bool, dry_run: bool, scope: str | None, as_json: bool) -> None:
    """Remove what unfinished downloads and conversions left in the store.

    Nothing that was verified goes, and nothing that a live process works on. A download that is
    not pruned goes on where it ended.
    """
    import json

    from rich.console import Console

    from local_opus import pruning
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.prompts import confirm
    from local_opus.report import store as show

    host = open_host()
    locations = find_install(host, scope)
    found = pruning.prunable(host, locations)
    if not as_json:
        show.partials_table(Console(), found.orphans)
    if not dry_run:
        if found.orphans:
            confirm(f"Remove {len(found.orphans)} of them?", yes=yes)
        found = pruning.prune(host, locations)  # also the locks that killed runs left
    if as_json:
        click.echo(json.dumps(show.pruned_json(found, dry_run=dry_run), indent=1))
    else:
        show.pruned(Console(), found, dry_run=dry_run)


command.add_command(pin, "pin")
command.add_command(sign, "sign")
