"""``uninstall``: the way back."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.option("--yes", is_flag=True, help="Do not ask.")
@options.option("--dry-run", is_flag=True, help="Print the way back and change nothing.")
@options.option("--purge", is_flag=True, help="Remove the weights in the store too.")
@options.scope
@options.option("--root", default="/", help="The folder of an image instead of this machine.")
@options.as_json
def command(
    *, yes: bool, dry_run: bool, purge: bool, scope: str | None, root: str, as_json: bool
) -> None:
    """Take an install back, action by action; what you edited is kept and named."""
    from local_opus import own_modules, uninstall
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.prompts import confirm
    from local_opus.report import reporter
    from local_opus.report import uninstall as show
    from local_opus.report.install import show_kept

    host = open_host(root)
    locations = find_install(host, scope)
    if dry_run:
        ahead = uninstall.forecast(host, locations, purge=purge)
        show.show_forecast(reporter.make(as_json=as_json), ahead, locations.models)
        return
    question = "Take the install back" + (", and remove all weights?" if purge else "?")
    confirm(question, yes=yes)
    own_modules.keep(locations.prefix)
    tell = reporter.make(as_json=as_json)
    try:
        removed = uninstall.uninstall(host, locations, purge=purge, tell=tell)
    finally:
        tell.close()
    show_kept(tell, removed.kept)
    show.show_weights(tell, removed.weights_left, locations.models)
    tell.event(
        "uninstalled",
        {
            "nothing": removed.nothing,
            "kept": removed.kept,
            "weights_left": removed.weights_left,
        },
    )
    tell.say("Nothing was installed." if removed.nothing else "Uninstalled.")
