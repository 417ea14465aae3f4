"""Options that several commands share; each has an environment variable ``LOCAL_OPUS_*``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from local_opus.report.lines import JsonLines

#: What a model can be chosen for.
USE_CASES = ("chat", "coding", "analysis")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def option(*names: str, **settings: Any) -> Callable[[_Function], _Function]:  # noqa: ANN401 - click's own settings
    """Make an option with the environment variable that its longest name gives."""
    longest = max((name for name in names if name.startswith("-")), key=len)
    settings.setdefault("envvar", "LOCAL_OPUS_" + longest.lstrip("-").replace("-", "_").upper())
    settings.setdefault("show_envvar", False)
    return click.option(*names, **settings)


def is_on(word: str) -> bool:
    """Say whether a variable's word turns a flag on, as click reads it; an odd one does not."""
    return word.strip().lower() in {"1", "true", "t", "yes", "y", "on"}


def _note_json(ctx: click.Context, param: click.Parameter, value: bool) -> bool:  # noqa: ARG001 - click's way to call
    """Have errors told as JSON too, also where an answers file asks for it."""
    if (lines := ctx.find_object(JsonLines)) is not None:
        lines.wanted = value
    return value


# Eager: what is wrong with another option is then told in JSON already.
as_json = option(
    "--json", "as_json", is_flag=True, is_eager=True, callback=_note_json, help="Print JSON."
)


def _own_scope() -> str | None:
    """Return the scope of the install that this program belongs to; None: a checkout's."""
    return os.environ.get("LOCAL_OPUS_OWN_SCOPE") or None


scope = option(
    "--scope",
    type=click.Choice(["system", "user"]),
    default=_own_scope,
    help="system (root: /opt, /etc, /var/lib) or user (XDG folders). Default: that of the "
    "installed program, else system for root.",
)


accept_license = option(
    "--accept-license", is_flag=True, help="Accept the model's licence, where it is not a free one."
)


tune = option(
    "--tune/--no-tune",
    "tune",
    envvar="LOCAL_OPUS_TUNE",
    default=None,
    help="Measure OpenVINO's settings and keep the best, or don't. Default: what the profile says.",
)


linger = option(
    "--linger/--no-linger",
    "linger",
    envvar="LOCAL_OPUS_LINGER",
    default=None,
    help="Scope user: let the node go on without a login, and start with the machine, or don't. "
    "Default: what the profile says.",
)


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the models of the catalog that begin with what is typed."""
    from local_opus.catalog import load
    from local_opus.catalog.own import known_ids
    from local_opus.host import Host

    known = [*load().ids(), *known_ids(Host())]
    return [model for model in known if model.startswith(incomplete)]


def complete_stored(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the models in the store that begin with what is typed."""
    from local_opus.cli.context import find_install, open_host
    from local_opus.weights.store import list_models

    host = open_host()
    try:
        names = list_models(host, find_install(host, ctx.params.get("scope")).models)
    except OSError:  # closed to this user: the command itself says so
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the profiles that begin with what is typed."""
    from local_opus import profiles

    return [name for name in profiles.names() if name.startswith(incomplete)]


def complete_device(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the devices that begin with what is typed, in any case."""
    from local_opus.devices import names

    words = [*names.WORDS, "GPU.0", "GPU.1"]
    return [name for name in words if name.casefold().startswith(incomplete.casefold())]


def complete_use_case(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the use cases that begin with what is typed."""
    return [name for name in USE_CASES if name.startswith(incomplete)]
