"""``receipt``: what an install did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.receipts import Salvaged


@click.command()
@options.scope
@options.option(
    "--salvage",
    is_flag=True,
    help="Of a damaged receipt, keep the records before the damage. What the others speak of is "
    "from then on left where it is.",
)
@options.option("--root", default="/", help="The folder of an image instead of this machine.")
@options.as_json
def command(scope: str | None, *, salvage: bool, root: str, as_json: bool) -> None:
    """Show every action of the receipt, after checking its checksums."""
    import json

    from local_opus import receipts
    from local_opus.actions import build
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import LocalOpusError
    from local_opus.host import locks
    from local_opus.receipts import Receipt

    host = open_host(root)
    locations = find_install(host, scope)
    if not receipts.is_there(host, locations.receipt):
        raise LocalOpusError(
            f"{locations.receipt}: nothing is installed", "Run `local-opus install`."
        )
    if salvage:
        with locks.exclusive(host.files, locations.lock):
            saved = receipts.salvage(host, locations.receipt)
        click.echo(_told(saved), err=as_json)
    receipt = Receipt(host, locations.receipt)
    if as_json:
        click.echo(json.dumps([record.model_dump(mode="json") for record in receipt.records]))
        return
    history = receipt.history
    facts = ", ".join(f"{name} {value}" for name, value in history.run.items() if value)
    state = "complete" if history.finished else "not finished: install again, or uninstall"
    if history.left:
        state = "uninstalled, but for the folders of the weights"
    click.echo(f"{receipt.path}: {len(receipt.records)} records, checksums right, {state}")
    click.echo(f"{facts}")
    for entry in history.entries:
        click.echo(f"  {entry.status.value:<12} {build(entry.kind, entry.params).summary()}")


def _told(saved: Salvaged | None) -> str:
    if saved is None:
        return "Nothing is damaged, and nothing was changed."
    where = f"the whole is in {saved.aside}" if saved.aside else "the file itself was gone"
    return f"{saved.kept} records kept; {where}"
