"""``detect``: what this machine is."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@options.as_json
def command(*, as_json: bool) -> None:
    """Show the processor, memory, disk, system, Intel GPUs and NPUs, and what OpenVINO can use.

    The JSON of --json is described by docs/detect.schema.json.
    """
    from local_opus import probing
    from local_opus.host import Host

    host = Host()
    with probing.begin(host) as begun:  # first of all: the rest is imported while it runs
        import json

        from local_opus.cli.context import find_install
        from local_opus.facts import gather
        from local_opus.report.facts import facts_json, print_facts

        facts = gather(host, disk_path=find_install(host, None).models, begun=begun)
    if as_json:
        click.echo(json.dumps(facts_json(facts), indent=2))
    else:
        print_facts(facts)
