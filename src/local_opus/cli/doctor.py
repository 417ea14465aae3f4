"""``doctor``: what keeps this machine from serving, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from local_opus.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from local_opus.doctor import Diagnosis
    from local_opus.host import Host
    from local_opus.locations import Locations


@click.command()
@options.option("--fix", is_flag=True, help="Do what takes no judgement, as an install would; shown and asked first.")  # fmt: skip  # noqa: E501
@options.option("--yes", is_flag=True, help="With --fix: do not ask.")
@options.option("--dry-run", is_flag=True, help="With --fix: show what it would do.")
@options.option("--canary", is_flag=True, help="Also force a text through the installed model.")
@options.option("--as-service", is_flag=True, help="Only try the devices, inside the sandbox of the installed unit.")  # fmt: skip  # noqa: E501
@options.scope
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    *,
    fix: bool,
    yes: bool,
    dry_run: bool,
    canary: bool,
    as_service: bool,
    scope: str | None,
    as_json: bool,
) -> int:
    """Ask every check: devices, machine, install, model, server; each with evidence and a fix.

    Exit code 3 where one fails; a warning is no failure. The JSON of --json is described by
    docs/doctor.schema.json.
    """
    from rich.console import Console

    from local_opus import checks, doctor
    from local_opus.cli import prompts
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import BadInputError
    from local_opus.report import doctor as show

    if not fix and _typed(ctx, "yes", "dry_run"):  # a variable is meant for other commands too
        raise BadInputError("--yes, --dry-run: they go with --fix", "Add --fix.")
    if fix and as_service:
        raise BadInputError("--fix and --as-service: one at a time", "Leave one out.")
    if fix and not (yes or dry_run):
        prompts.require_terminal()
    host = open_host()
    locations = find_install(host, scope)
    registry = (*checks.REGISTRY, checks.CANARY) if canary else checks.REGISTRY
    console = Console()
    with show.Progress(Console(stderr=True), len(registry)) as progress:
        if as_service:
            found = doctor.examine_as_service(host, locations)
        else:
            found = doctor.examine(host, locations, progress.tell, registry=registry)
    if not as_json:
        show.show(found, console)
    code = found.exit_code
    if fix:
        found = _fix(host, locations, found, console, yes=yes, dry_run=dry_run, as_json=as_json)
        code = show.exit_code_of_fix(found, dry_run=dry_run)
    if as_json:
        _print_json(found)
    return int(code)


def _typed(ctx: click.Context, *names: str) -> bool:
    return any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)


def _fix(
    host: Host,
    locations: Locations,
    found: Diagnosis,
    console: Console,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> Diagnosis:
    """Show, ask, mend, and ask the checks again."""
    from local_opus import doctor, mending
    from local_opus.cli import prompts
    from local_opus.report import doctor as show
    from local_opus.report import reporter

    todo = mending.steps(host, locations, found.results)
    if not as_json:
        show.show_steps([line for step in todo for line in step.lines], console)
    if dry_run or not todo:
        return doctor.with_steps(found, todo)
    prompts.confirm("Do that?", yes=yes)
    tell = reporter.make(quiet=as_json)
    try:
        done = mending.mend(todo, tell)
    finally:
        tell.close()
    after = doctor.again(host, locations, found, mending.affected(todo), done)
    if not as_json:
        show.show_changes(found, after, console)
    return after


def _print_json(found: Diagnosis) -> None:
    import json

    from local_opus.report import doctor as show

    click.echo(json.dumps(show.diagnosis_json(found), indent=2))
