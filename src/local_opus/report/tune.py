"""What tuning tried and chose, as a table of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.markup import escape

from local_opus.report.reporter import Reporter
from local_opus.tuning import NOT_TRIED, tuned
from local_opus.values.tuning import Tried, Tuned, TuningOrder

_WIDTH = 78
_NAME = 37
_HEADINGS = f"{'setting':<{_NAME}} {'default':>9} {'tuned':>9}  {'times':>6}  interval"


def show_candidates(tell: Reporter, order: TuningOrder, own: Sequence[str]) -> None:
    """List what would be tried."""
    what = order.model or "a generated graph"
    tell.say(
        escape(f"{order.device} ({order.device_name}), {what}, for {order.goal}, "
               f"{order.seconds} s at most; in this order:")
    )  # fmt: skip
    for setting in order.settings:
        words = " (asks the canary)" if setting.changes_answers else ""
        words = " (measured, never chosen)" if setting.never is not None else words
        tell.say(f"  {escape(setting.name)}{words}")
    for name in own:
        tell.say(f"  {escape(name)}: left alone, it was set in openvino.json")


def show_table(tell: Reporter, result: Tuned) -> None:
    """Print a row and its reason for each setting."""
    if not result.tried:
        return
    unit = "of one answer" if result.goal == "latency" else "of all requests together"
    tell.say("")
    tell.say(f"tokens/s {unit}, prompt included; the interval holds the true median")
    tell.say(f"[bold]{_HEADINGS}[/bold]")
    waiting = [row.setting for row in result.tried if row.why == NOT_TRIED]
    for row in result.tried:
        if row.why != NOT_TRIED:
            for line in row_lines(row):
                tell.say(line)
    if waiting:
        text = f"not tried, as the time was up: {', '.join(waiting)}"
        for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False):
            tell.say(f"[dim]{escape(line)}[/dim]")


def row_lines(row: Tried) -> list[str]:
    """Return a row's lines: its figures, and below them why it was kept or not."""
    style = ("[green]", "[/green]") if row.kept else ("", "")
    name = textwrap.wrap(row.setting, _NAME, break_on_hyphens=False) or [""]
    figures = f"{'-':>9} {'-':>9}  {'-':>6}  {'-':<11}"
    if row.speed is not None and row.ratio is not None:
        ratio = row.ratio
        was = row.default_tokens_per_second or 0.0
        interval = f"{ratio.low:.2f}-{ratio.high:.2f}"
        figures = (
            f"{was:>9.1f} {row.speed.tokens_per_second:>9.1f}  {ratio.median:>6.2f}  {interval:<11}"
        )
    first = f"{style[0]}{escape(name[0]):<{_NAME}} {figures.rstrip()}{style[1]}"
    more = [f"{style[0]}{escape(word)}{style[1]}" for word in name[1:]]
    why = textwrap.wrap(row.why, _WIDTH - 4, break_on_hyphens=False)
    return [first, *more, *(f"    [dim]{escape(line)}[/dim]" for line in why)]


def show_result(tell: Reporter, result: Tuned, path: str | None) -> None:
    """Say what is set from now on."""
    tell.say("")
    tell.say(f"[bold]{escape(tuned.in_words(result))}[/bold]")
    if result.judged is not None:
        judged = result.judged
        where = (
            "the model's band"
            if judged.how == "band"
            else "a tolerance around the default's: no band was measured for this model"
        )
        tell.say(
            f"canary: {judged.mean_log_probability} lies in {judged.low} to {judged.high}, {where}"
        )
    where = f"kept in {escape(path)}" if path is not None else "not kept (--no-keep)"
    tell.say(f"{where}; measured in {result.seconds:.0f} s, noise {result.noise or 0:.1%}")
