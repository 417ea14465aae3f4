"""``tune``: measure OpenVINO's settings on this machine, and keep the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.cli.tune_machine import How
    from local_opus.host import Host
    from local_opus.locations import Locations
    from local_opus.report.reporter import Reporter
    from local_opus.tuning.retune import Wanted
    from local_opus.values.tuning import Goal


@click.command()
@options.option(
    "--goal",
    type=click.Choice(["latency", "throughput"]),
    help="latency: one answer as soon as possible. throughput: many at once. Default: the "
    "profile's.",
)
@options.option(
    "--seconds",
    type=click.IntRange(1, 600),
    default=180,
    show_default=True,
    help="How long it may take, all in all.",
)
@options.option("--dry-run", is_flag=True, help="Show what would be tried, and measure nothing.")
@options.option("--keep/--no-keep", "keep", envvar="LOCAL_OPUS_KEEP", default=True, show_default=True, help="Keep what is chosen, or only show it.")  # fmt: skip  # noqa: E501
@options.option("--machine", is_flag=True, help="Measure the machine's own settings instead: governor, huge pages and so on.")  # fmt: skip  # noqa: E501
@options.option("--reset", is_flag=True, help="Go back to the defaults.")
@options.option("--quiet", is_flag=True, help="Print errors alone.")
@options.scope
@options.as_json
def command(
    *,
    goal: Goal | None,
    seconds: int,
    dry_run: bool,
    keep: bool,
    machine: bool,
    reset: bool,
    quiet: bool,
    scope: str | None,
    as_json: bool,
) -> None:
    """Try OpenVINO's settings on this machine with the installed model, and keep what gains.

    A server that runs is stopped meanwhile, and started again. Without a model a generated graph
    is measured. Nothing is kept that does not beat the default by more than the noise, or that
    takes the model's canary out of its band. Ctrl-C keeps what was set before.
    """
    from local_opus import install
    from local_opus.cli import tune_machine
    from local_opus.cli.context import find_install, open_host
    from local_opus.errors import BadInputError
    from local_opus.report import reporter

    if reset and dry_run:
        raise BadInputError("--reset and --dry-run: choose one", "Give one of them.")
    if machine and goal is not None:
        raise BadInputError(
            "--machine and --goal: choose one", "The machine's settings are measured for latency."
        )
    host = open_host()
    locations = find_install(host, scope)
    if not dry_run:
        install.require_rights(host, locations.scope)
    tell = reporter.make(quiet=quiet or as_json)
    how = tune_machine.How(seconds, dry_run=dry_run, keep=keep, reset=reset, as_json=as_json)
    if machine:
        tune_machine.run(host, locations, tell, how)
    else:
        _openvino(host, locations, tell, goal, how)


def _openvino(
    host: Host, locations: Locations, tell: Reporter, goal: Goal | None, how: How
) -> None:
    import json

    from local_opus.errors import LocalOpusError
    from local_opus.report import tune as show
    from local_opus.tuning import retune

    wanted = retune.wanted(host, locations, goal=goal, seconds=how.seconds)
    order = wanted.order
    if not how.reset:
        retune.require_device(wanted)
    if how.dry_run:
        _show_order(tell, wanted, as_json=how.as_json)
        return
    retune.require_unedited(host, locations)
    if how.reset:
        changed = retune.reset(host, locations, order)
        if how.as_json:
            click.echo(json.dumps({"reset": changed}))
        else:
            tell.say("back to the defaults" if changed else "no changes: the defaults are set")
        return
    tell.started(retune.ID, f"tune OpenVINO on {order.device} for {order.goal}")
    try:
        result = retune.measure(
            host, locations, order, lambda what, at: tell.progress(what, int(at), None)
        )
        tell.finished(retune.ID, "done" if result.problem is None else "failed")
    finally:
        tell.close()
    if not how.as_json:
        show.show_table(tell, result)
    if result.problem is not None:
        raise LocalOpusError(
            f"tune: {result.problem}",
            "What was set before stays; run `local-opus tune` again, with more `--seconds` where "
            "the time was short.",
        )
    if how.keep:
        retune.keep(host, locations, order, result)
    if how.as_json:
        document = result.model_dump(mode="json", exclude={"sum"})
        click.echo(json.dumps({**document, "kept": how.keep, "path": locations.tuned}, indent=2))
    else:
        show.show_result(tell, result, locations.tuned if how.keep else None)


def _show_order(tell: Reporter, wanted: Wanted, *, as_json: bool) -> None:
    import json

    from local_opus.report import tune as show

    if as_json:
        click.echo(json.dumps(wanted.order.model_dump(mode="json"), indent=2))
    else:
        show.show_candidates(tell, wanted.order, wanted.own)
