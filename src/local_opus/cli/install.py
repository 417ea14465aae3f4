"""``install``: the default command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from local_opus.cli import options

if TYPE_CHECKING:
    from local_opus.answers import Answers


def _answers(ctx: click.Context, param: click.Parameter, value: str | None) -> Answers | None:  # noqa: ARG001
    """Read the file first of all: its answers stand in for the options that are not given."""
    if value is None or ctx.resilient_parsing:  # a shell completes words
        return None
    from local_opus.cli import answering

    found = answering.read(value)
    ctx.default_map = found.given()
    return found


def _insisted(ctx: click.Context) -> tuple[str, ...]:
    """Return the flags of a server that were typed or set: what they ask for is not dropped.

    Answers may hold more than their profile needs.
    """
    by_whom = {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}
    names = ("device", "use_case", "port")
    said = [name for name in names if ctx.get_parameter_source(name) in by_whom]
    return tuple(f"--{name.replace('_', '-')}" for name in said if ctx.params[name] != "auto")


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
    help="auto, CPU, GPU, NPU, or one of several GPUs: GPU.0, GPU.1. Default: what the profile "
    "says, which is auto as a rule.",
)
@options.option(
    "--use-case",
    shell_complete=options.complete_use_case,
    help="chat, coding or analysis: what the model is chosen for.",
)
@options.option("--port", type=click.IntRange(1024, 65535), help="The server's port.")
@options.tune
@options.linger
@options.scope
@options.option("--root", default="/", help="The folder of an image instead of this machine.")
@options.option("--yes", is_flag=True, help="Do not ask.")
@options.accept_license
@options.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@options.option("--quiet", is_flag=True, help="Print errors alone.")
@options.option(
    "--answers",
    type=click.Path(allow_dash=True),
    is_eager=True,
    callback=_answers,
    help="A TOML file that answers for the options not given; - for standard input.",
)
@options.option(
    "--save-answers",
    type=click.Path(),
    metavar="FILE",
    help="Write what was chosen to a new file, for --answers.",
)
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    *,
    local_opus: bool,
    external_api: bool,
    hybrid: bool,
    profile: str | None,
    model: str | None,
    device: str | None,
    use_case: str | None,
    port: int | None,
    tune: bool | None,
    linger: bool | None,
    scope: str | None,
    root: str,
    yes: bool,
    accept_license: bool,
    dry_run: bool,
    quiet: bool,
    answers: Answers | None,
    save_answers: str | None,
    as_json: bool,
) -> None:
    """Take this machine to a profile: detect, plan, apply, prove.

    Without a profile: military, or on a terminal the questions. The same command again repairs
    what is broken, or says `no changes`.
    """
    from local_opus.cli import choices
    from local_opus.cli.given import Given, Way, device_word, one_profile

    flags = {"local-opus": local_opus, "external-api": external_api, "hybrid": hybrid}
    named = [name for name, on in flags.items() if on]
    if named and ctx.get_parameter_source("profile") is not ParameterSource.COMMANDLINE:
        profile = None  # a flag outranks the environment and the answers
    given = Given(
        profile=one_profile(named, profile),
        model=model,
        device=device if device is None else device_word(device),
        use_case=use_case,
        port=port,
        tune=tune,
        linger=linger,
        scope=scope,
        root=root,
        insisted=_insisted(ctx),
    )
    way = Way(
        # Who gives answers is asked the rest; who names a profile alone gets what fits.
        interactive=not (yes or dry_run) and (given.profile is None or answers is not None),
        yes=yes,
        dry_run=dry_run,
        quiet=quiet,
        as_json=as_json,
        save_answers=save_answers,
        accept_license=accept_license,
    )
    choices.run(given, way)
