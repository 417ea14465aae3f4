"""``bench``: this machine, measured."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.group()
def command() -> None:
    """Measure this machine. Nothing is installed, downloaded or changed."""


@command.command("device", short_help="Measure devices against their published peaks.")
@click.argument("name", default="all", metavar="[NAME|all]")
@options.option(
    "--seconds",
    type=float,
    default=60.0,
    show_default=True,
    help="The time for all devices together, at most.",
)
@options.scope
@options.as_json
def device(name: str, *, seconds: float, scope: str | None, as_json: bool) -> int:
    """Measure NAME (CPU, GPU, GPU.1, NPU) or all devices against their published peaks.

    Int8 TOPS, fp16/bf16 and fp32 TFLOPS by matrix products of OpenVINO, and memory bandwidth. Each
    figure says in which precision it really ran. Exit code 1 when a device fails on the way, 4
    when it is not there. See docs/device-bench.md.
    """
    import json

    from rich.console import Console

    from local_opus import control, device_bench
    from local_opus.cli.context import find_install, open_host
    from local_opus.devices.claims import claims
    from local_opus.devices.measured import Measurement
    from local_opus.devices.published import rated
    from local_opus.errors import ExitCode
    from local_opus.facts import gather
    from local_opus.report import bench as show

    device_bench.check_name(name)
    device_bench.check_seconds(seconds)
    host = open_host()
    locations = find_install(host, scope)
    control.use_installed_workers(host, locations)
    facts = gather(host, disk_path=locations.models)
    devices = device_bench.chosen(facts, name)
    published = {one.name: rated(facts, one) for one in device_bench.listed(facts)}
    quiet = as_json or not Console(stderr=True).is_terminal

    def tell(one: str, figure: Measurement) -> None:
        if not quiet:
            click.echo(show.progress_line(one, figure), err=True)

    measured = device_bench.measure(
        host,
        facts,
        devices,
        seconds=seconds,
        beside_server=device_bench.competing(host, locations),
        tell=tell,
    )
    told = claims(published, measured.devices)
    if as_json:
        click.echo(json.dumps(show.bench_json(measured, published, told), indent=2))
    else:
        show.print_bench(Console(), measured, published, told)
    return int(ExitCode.FAILED if any(one.failed for one in measured.devices) else ExitCode.DONE)
