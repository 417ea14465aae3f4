"""``install``: the default command."""

from __future__ import annotations

import click

from local_opus.cli import options


@click.command()
@click.option("--local-opus", "local_opus", is_flag=True, help="Profile local-opus: an open model behind a local server.")  # fmt: skip  # noqa: E501
@click.option("--external-api", is_flag=True, help="Profile external-api: no local component.")
@click.option("--hybrid", is_flag=True, help="Profile hybrid: local-opus, with cloud keys later.")
@options.option(
    "--profile",
    shell_complete=options.complete_profile,
    help="A profile's name, or the path of a profile file.",
)
@options.option(
    "--model",
    shell_complete=options.complete_model,
    help="A model of the catalog: see `models list`.",
)
@options.option(
    "--device",
    shell_complete=options.complete_device,
    help="auto, CPU, GPU or NPU.",
    default="auto",
    show_default=True,
)
@options.option(
    "--use-case",
    shell_complete=options.complete_use_case,
    help="chat, coding or analysis: what the model is chosen for.",
)
@options.option("--port", type=click.IntRange(1, 65535), help="The server's port.")
@options.scope
@options.option("--root", default="/", help="The folder of an image instead of this machine.")
@options.option("--yes", is_flag=True, help="Do not ask.")
@options.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@options.option("--quiet", is_flag=True, help="Print errors alone.")
@options.as_json
def command(
    *,
    local_opus: bool,
    external_api: bool,
    hybrid: bool,
    profile: str | None,
    model: str | None,
    device: str,
    use_case: str | None,
    port: int | None,
    scope: str | None,
    root: str,
    yes: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Take this machine to a profile: detect, plan, apply, prove.

    Without a profile: military, or on a terminal the questions. The same command again repairs
    what is broken, or says `no changes`.
    """
    from local_opus.cli import choices

    flags = {"local-opus": local_opus, "external-api": external_api, "hybrid": hybrid}
    given = choices.Given(
        profile=choices.one_profile([name for name, on in flags.items() if on], profile),
        model=model,
        device=choices.parse_device(device),
        use_case=use_case,
        port=port,
        scope=scope,
        root=root,
    )
    interactive = not (yes or dry_run) and given.profile is None
    choices.run(given, interactive=interactive, yes=yes, dry_run=dry_run, quiet=quiet,
                as_json=as_json)  # fmt: skip
