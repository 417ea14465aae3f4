"""Options that several commands share; each has an environment variable ``LOCAL_OPUS_*``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])


def option(*names: str, **settings: Any) -> Callable[[_Function], _Function]:  # noqa: ANN401 - click's own settings
    """Make an option with the environment variable that its longest name gives."""
    longest = max((name.split("/")[0] for name in names), key=len)
    settings.setdefault("envvar", "LOCAL_OPUS_" + longest.lstrip("-").replace("-", "_").upper())
    settings.setdefault("show_envvar", False)
    return click.option(*names, **settings)


as_json = option("--json", "as_json", is_flag=True, help="Print JSON.")
scope = option(
    "--scope",
    type=click.Choice(["system", "user"]),
    help="system (root: /opt, /etc, /var/lib) or user (XDG folders). Default: system for root.",
)
