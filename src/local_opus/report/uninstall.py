"""What an uninstall shows a person: what it would do, and the weights that stay."""

from __future__ import annotations

from dataclasses import asdict

from rich.markup import escape

from local_opus.report.install import show_kept
from local_opus.report.reporter import Reporter
from local_opus.uninstall import Forecast

_GIB = 1024**3


def show_forecast(tell: Reporter, ahead: Forecast, models: str) -> None:
    """List what would be taken back, in the order of the way back, and what would stay."""
    tell.event("way_back", asdict(ahead))
    if not ahead.steps:
        tell.say("Nothing is installed.")
    else:
        tell.say("[bold]Way back[/bold]")
    for one in ahead.steps:
        tell.say(f"  • take back: {escape(one.summary)}")
    if ahead.weights_removed:
        gib = ahead.weights_removed / _GIB
        tell.say(f"  • remove {gib:.2f} GiB of weights from {escape(models)}")
    show_kept(tell, ahead.kept)
    show_weights(tell, ahead.weights_left, models)


def show_weights(tell: Reporter, left: int, models: str) -> None:
    """Say that weights stay, and where."""
    if left:
        where = escape(models)
        tell.say(f"{left / _GIB:.2f} GiB of weights stay in {where}; --purge removes them.")
