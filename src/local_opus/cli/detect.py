"""``detect``: what this machine is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.values import HostFacts


@click.command()
@options.as_json
@options.option(
    "--record",
    metavar="DIR",
    type=click.Path(),
    help="Also write what was read into this folder, for the project's tests: no serial numbers, "
    "no names of hosts or users. It must be empty, or not there yet.",
)
def command(*, as_json: bool, record: str | None) -> None:
    """Show the processor, memory, disk, system, Intel GPUs and NPUs, and what OpenVINO can use.

    The JSON of --json is described by docs/detect.schema.json, the folder of --record by
    docs/recording.md.
    """
    from local_opus.host import Host

    host = Host()
    facts = _facts(host, as_json) if record is None else _record(host, record)
    if as_json:
        import json

        from local_opus.report.facts_json import facts_json

        click.echo(json.dumps(facts_json(facts), indent=2))
    else:
        from local_opus.report.facts import print_facts

        print_facts(facts)
    if record is not None:
        from local_opus.weights.structure import printable

        where = printable(record, len(record))
        click.echo(f"Recorded in {where}. Look through it before you give it away.", err=True)


def _facts(host: Host, as_json: bool) -> HostFacts:
    import gc

    from local_opus import probing

    gc.disable()  # what is imported here is no garbage, and looking for some takes a while
    try:
        with probing.begin(host) as begun:  # first of all: the rest is imported while it runs
            from local_opus.cli.context import find_install
            from local_opus.facts import gather

            if not as_json:
                from local_opus.report import facts  # noqa: F401 - rich takes as long as the probe

            return gather(host, disk_path=find_install(host, None).models, begun=begun)
    finally:
        gc.enable()


def _record(host: Host, path: str) -> HostFacts:
    from local_opus import recording
    from local_opus.errors import BadInputError

    if not path or "\0" in path:
        raise BadInputError("--record: the folder has no name", "Name a folder to write into.")
    return recording.record(host, os.path.abspath(path))
