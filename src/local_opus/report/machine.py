"""What was measured of the machine's own settings, in lines."""

from __future__ import annotations

import textwrap

from rich.markup import escape

from local_opus.machine import decided
from local_opus.report.reporter import Reporter
from local_opus.values.machine_tuning import MachineOrder, MachineTuned

_WIDTH = 78


def show_order(tell: Reporter, order: MachineOrder) -> None:
    """Say what would be measured."""
    what = order.subject.model or "a generated graph"
    tell.say(escape(f"with {what} on {order.subject.device}, {order.seconds} s at most:"))
    for id_ in order.items:
        tell.say(f"  {id_}")


def show_result(tell: Reporter, result: MachineTuned, path: str | None) -> None:
    """Say what became of each item, and where it was kept."""
    tell.say("")
    for item in result.items:
        style = ("[green]", "[/green]") if item.decision == "chosen" else ("", "")
        text = f"{item.id}: {decided.in_words(item)}"
        for line in textwrap.wrap(text, _WIDTH, subsequent_indent="    ", break_on_hyphens=False):
            tell.say(f"{style[0]}{escape(line)}{style[1]}")
    where = f"kept in {escape(path)}" if path is not None else "not kept (--no-keep)"
    noise = "" if result.noise is None else f", noise {result.noise:.1%}"
    tell.say(f"{where}; measured in {result.seconds:.0f} s{noise}")
