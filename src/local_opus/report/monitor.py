"""What the monitor saw, for a person: a table on a terminal, lines in a log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.box import ASCII, ROUNDED
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from local_opus.monitor.history import HOUR, History, Sample, given_up
from local_opus.monitor.sight import Condition, Look, Seen
from local_opus.report.plots import bars, columns

_COLOURS = {
    Condition.HEALTHY: "green",
    Condition.LOADING: "yellow",
    Condition.STOPPING: "yellow",
    Condition.STOPPED: "dim",
}
#: Columns of a plot, of 80: a minute and a half each.
_PLOT = 40
_NARROW = 70
_MIB = 1024 * 1024
#: From so many on, memory is told in GiB.
_MANY_MIB = 10 * 1024
#: Rows of a table without plots; a lower screen has no room for plots of several lines.
_TALL = 30


def is_plain(console: Console, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a terminal, or the locale, is for ASCII alone."""
    given = os.environ if environ is None else environ
    locale = given.get("LC_ALL") or given.get("LANG") or ""
    blocks = console.encoding.lower().startswith("utf")
    return console.is_dumb_terminal or locale in {"C", "POSIX"} or not blocks


def picture(look: Look, histories: Mapping[str, History], console: Console, uptime: float) -> Group:
    """Return the tables of a look, with the last hour of each server."""
    plain = is_plain(console)
    tables = [
        _table(seen, histories.get(seen.server, History()), console, uptime, plain=plain)
        for seen in look.servers
    ]
    every = "" if look.interval_seconds is None else f", every {look.interval_seconds:g} s"
    notes = [Text(f"note: {line}", style="yellow") for line in look.notes]
    foot = f"{look.at.replace('T', ' ')}{every}; Ctrl-C ends"
    return Group(*tables, *notes, Text(foot, style="dim"))


def _table(seen: Seen, history: History, console: Console, uptime: float, *, plain: bool) -> Table:
    colour = _COLOURS.get(seen.condition, "red")
    who = " on ".join(word for word in (seen.model, seen.device) if word) or "a server"
    title = f"[bold]{escape(seen.server)}[/bold]: {escape(who)}, {seen.url}"
    wide = console.width >= _NARROW
    width = max(10, min(_PLOT, console.width - 46))
    table = Table(
        title=title, title_justify="left", box=ASCII if plain else ROUNDED, show_header=wide,
        width=min(console.width, 100),
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    table.add_column("now", overflow="fold", ratio=1)
    if wide:
        table.add_column("last hour", no_wrap=True, width=width)
    tall = 2 if console.height >= _TALL else 1

    def row(name: str, now: str, value: Callable[[Sample], float | None] | None = None) -> None:
        cells = [name, now]
        if wide:
            cells.append(_plot(history, value, uptime, width, tall, plain) if value else "")
        table.add_row(*cells)

    said = f"[{colour}]{seen.condition.value}[/{colour}]"
    in_a_row = f" ({seen.sick_in_a_row} looks in a row)" if seen.sick_in_a_row > 1 else ""
    row("state", f"{said}{in_a_row}, {escape(_who(seen))}")
    for reason in seen.reasons:
        row("", f"[{colour}]{escape(reason)}[/{colour}]")
    row("health", escape(_health(seen)))
    row("requests", _requests(seen), lambda one: one.in_flight)
    row("canary", escape(_canary(seen, history)), lambda one: one.first_token)
    row("tokens/s", escape(_rate(seen, history)), lambda one: one.rate)
    row("memory", _memory(seen), lambda one: one.memory)
    row("weights", escape(_weights(seen)))
    if history.recoveries:
        last = history.recoveries[-1]
        row("recovered", escape(f"{history.counts.recoveries} times, last {last.at}"))
    if given_up(history, uptime):
        row("", "[red]starting it anew did not help: left alone for an hour[/red]")
    for warning in seen.warnings:
        row("warning", f"[yellow]{escape(warning)}[/yellow]")
    return table


def _plot(
    history: History,
    value: Callable[[Sample], float | None],
    uptime: float,
    width: int,
    height: int,
    plain: bool,
) -> str:
    points = [(one.uptime, float(found)) for one in history.samples
              if (found := value(one)) is not None]  # fmt: skip
    return "\n".join(
        bars(columns(points, uptime - HOUR, uptime, width), height=height, plain=plain)
    )


def _who(seen: Seen) -> str:
    words = [f"PID {seen.pid}" if seen.pid else "", seen.how or "no server of this install"]
    if seen.restarts:
        words.append(f"started again {seen.restarts} times")
    return ", ".join(word for word in words if word)


def _health(seen: Seen) -> str:
    if seen.health.problem is not None:
        return seen.health.problem
    if seen.health.seconds is None:
        return "not asked"
    if seen.health.locked or seen.engine is None:
        return "it wants a key"
    engine = seen.engine
    again = f", restarted {engine.restarts} times" if engine.restarts else ""
    return f"{seen.health.seconds * 1000:.0f} ms, engine {engine.state}{again}"


def _requests(seen: Seen) -> str:
    return "-" if seen.engine is None else f"{seen.engine.requests_in_flight} in flight"


def _canary(seen: Seen, history: History) -> str:
    if seen.canary.problem is not None:
        return seen.canary.problem
    found = history.canary
    why = f"skipped: {seen.canary.skipped}" if seen.canary.skipped else ""
    if found is None or found.first_token_seconds is None or found.total_seconds is None:
        return why or "-"
    first = f"first token {found.first_token_seconds:.2f} s, all {found.total_seconds:.2f} s"
    return f"{first} ({why})" if why.startswith("skipped: busy") else first


def _rate(seen: Seen, history: History) -> str:
    rate = history.canary.tokens_per_second if history.canary is not None else None
    base = seen.baseline_tokens_per_second
    now = "-" if rate is None else f"{rate:.1f}"
    if base is None:
        return f"{now}, no baseline"
    return (
        f"{now}, install {base:.1f}" if rate is None else f"{now}, {rate / base:.0%} of {base:.1f}"
    )


def _mib(value: float) -> str:
    return (
        f"{value / _MIB:.0f} MiB" if value < 10 * 1024 * _MIB else f"{value / _MIB / 1024:.1f} GiB"
    )


def _memory(seen: Seen) -> str:
    memory = seen.memory
    named = (
        ("", memory.own),
        ("with caches ", memory.current_bytes),
        ("PSS ", memory.pss_bytes),
        ("peak ", memory.peak_bytes),
        ("limit ", memory.limit_bytes),
    )
    words = [f"{name}{_mib(value)}" for name, value in named if value is not None]
    growth = memory.growth_bytes_per_hour
    if growth is not None:
        words.append(f"{'+' if growth >= 0 else '-'}{_mib(abs(growth))}/h")
    return ", ".join(words) or "-"


def _weights(seen: Seen) -> str:
    found = seen.weights
    if found.problem is not None or found.skipped is not None:
        return found.problem or found.skipped or ""
    return "not looked at" if found.files is None else f"{found.files} files as verified"


def lines(look: Look) -> Iterator[str]:
    """Yield the lines that a log gets of a look."""
    for seen in look.servers:
        yield line(seen)
    yield from (f"note: {note}" for note in look.notes)


def line(seen: Seen) -> str:
    """Return one line on a server."""
    again = f" ({seen.sick_in_a_row} looks in a row)" if seen.sick_in_a_row else ""
    words: Sequence[str] = (*seen.reasons, *(f"warning: {one}" for one in seen.warnings))
    return f"{seen.server}: {seen.condition.value}{again}" + (
        f": {'; '.join(words)}" if words else ""
    )
