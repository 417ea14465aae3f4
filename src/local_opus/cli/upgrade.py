"""``upgrade``: the way on."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.option("--yes", is_flag=True, help="Do not ask.")
@options.accept_license
@options.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@options.option("--allow-downgrade", is_flag=True, help="Go back to an older version.")
@options.option("--quiet", is_flag=True, help="Print errors alone.")
@options.scope
@options.as_json
def command(
    *,
    yes: bool,
    accept_license: bool,
    dry_run: bool,
    allow_downgrade: bool,
    quiet: bool,
    scope: str | None,
    as_json: bool,
) -> None:
    """Bring what is installed to the version that this is run from, e.g. a newer checkout.

    Profile, model, device and port stay. The new server is tried on another port before it takes
    the place of the old one; if it fails, the old one stays. Weights that did not change are not
    touched.
    """
    from local_opus import install, upgrade
    from local_opus.cli import choices, prompts
    from local_opus.cli.context import find_install, open_host
    from local_opus.cli.given import Way
    from local_opus.report import install as show
    from local_opus.report import reporter

    host = open_host()
    locations = find_install(host, scope)
    history = upgrade.installed(host, locations)
    upgrade.require_newer(history, allow_downgrade=allow_downgrade)
    if not dry_run:
        install.require_rights(host, locations.scope)
    if not (yes or dry_run):
        prompts.require_terminal()
    tell = reporter.make(as_json=as_json, quiet=quiet)
    facts = install.detect(host, locations)
    tell.event("facts", facts.model_dump(mode="json"))
    show.show_machine(tell, facts)
    choice = upgrade.choose(host, locations, facts, history)
    way = Way(yes=yes, dry_run=dry_run, quiet=quiet, as_json=as_json, accept_license=accept_license)
    choices.go_on(host, choice, tell, way)
