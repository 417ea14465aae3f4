"""``tune --machine``: measure the machine's own settings, and have set what gains."""

from __future__ import annotations

import json
from dataclasses import dataclass

import click

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.machine import again
from local_opus.report import machine as show
from local_opus.report.reporter import Reporter


@dataclass(frozen=True)
class How:
    """The options that were given."""

    seconds: int
    dry_run: bool
    keep: bool
    reset: bool
    as_json: bool


def run(host: Host, locations: Locations, tell: Reporter, how: How) -> None:
    """Do it. Raises LocalOpusError."""
    order = again.wanted(host, locations, seconds=how.seconds)
    if how.dry_run:
        if how.as_json:
            click.echo(json.dumps(order.model_dump(mode="json"), indent=2))
        else:
            show.show_order(tell, order)
        return
    again.require_unedited(host, locations)
    if how.reset:
        changed = again.reset(host, locations, order)
        if how.as_json:
            click.echo(json.dumps({"reset": changed}))
        else:
            tell.say("nothing of the machine is set now" if changed else "no changes: nothing was")
        return
    tell.started(again.ID, "measure the machine's own settings")
    try:
        result = again.measure(
            host, locations, order, lambda what, at: tell.progress(what, int(at), None)
        )
        tell.finished(again.ID, "done" if result.problem is None else "failed")
    finally:
        tell.close()
    if result.problem is not None:
        raise LocalOpusError(
            f"tune --machine: {result.problem}",
            "What was set before stays. Run it again: with nothing else computing, or with more "
            "`--seconds` where the time was short.",
        )
    if how.keep:
        again.keep(host, locations, order, result)
    if how.as_json:
        document = result.model_dump(mode="json", exclude={"sum"})
        click.echo(json.dumps({**document, "kept": how.keep, "path": locations.machine}, indent=2))
    else:
        show.show_result(tell, result, locations.machine if how.keep else None)
