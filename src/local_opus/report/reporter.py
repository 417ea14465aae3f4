"""Three ways to report a run: for a person, for a program, or not at all."""

from __future__ import annotations

import json
import os
import textwrap
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TextIO

import click
from rich.console import Console
from rich.markup import escape, render
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from local_opus.report.lines import JsonLines
from local_opus.report.pace import Pace, duration_text

_MIB = 1024 * 1024
#: Begin the line of a step that is planned, or done.
_STEPS = ("  • ", "  ✓ ")
_NARROWEST = 20
#: Totals from this size on are bytes; smaller ones are counts.
_BYTES_FROM = 100_000
#: Between two lines of progress in a log.
_LOG_SECONDS = 10.0


class Reporter(ABC):
    """Is told what happens, in order."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Tell a person one line."""

    @abstractmethod
    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Tell a program one fact."""

    @abstractmethod
    def started(self, step: str, summary: str) -> None:
        """A step begins."""

    @abstractmethod
    def progress(self, step: str, done: int, total: int | None) -> None:
        """The current step has come to ``done`` of ``total`` bytes or parts."""

    @abstractmethod
    def finished(self, step: str, outcome: str) -> None:
        """A step has ended."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Leave the screen tidy."""


class QuietReporter(Reporter):
    """Reports nothing; errors still reach standard error."""

    def say(self, text: str) -> None:
        """Drop it."""

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Drop it."""

    def started(self, step: str, summary: str) -> None:
        """Drop it."""

    def progress(self, step: str, done: int, total: int | None) -> None:
        """Drop it."""

    def finished(self, step: str, outcome: str) -> None:
        """Drop it."""


class JsonReporter(Reporter):
    """One JSON object a line, as ``events`` describes; progress at most ten times a second."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self._last = 0.0
        self._part = ""
        self._pace = Pace()

    def say(self, text: str) -> None:
        """Tell it as an event, without markup."""
        self.event("message", {"text": render(text).plain})

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Print one line."""
        self._lines.write(name, data)

    def started(self, step: str, summary: str) -> None:
        """Print it."""
        self._pace, self._part = Pace(), ""
        self.event("started", {"step": step, "summary": summary})

    def progress(self, step: str, done: int, total: int | None) -> None:
        """Print it, unless one of the same part was printed a moment ago."""
        now = time.monotonic()
        new = step != self._part
        if new:
            self._pace = Pace()
        if new or now - self._last >= 0.1 or done == total:  # noqa: PLR2004 - seconds
            self._last, self._part = now, step
            self._pace.see(done)
            self.event("progress", progress_line(self._pace, step, done, total))

    def finished(self, step: str, outcome: str) -> None:
        """Print it."""
        self.event("finished", {"step": step, "outcome": outcome})


def progress_line(pace: Pace, step: str, done: int, total: int | None) -> dict[str, object]:
    """Return the data of a progress event."""
    rate, left = pace.rate, pace.seconds_left(total)
    return {
        "step": step,
        "done": done,
        "total": total,
        "rate": None if rate is None else round(rate, 1),
        "seconds_left": None if left is None else round(left, 1),
    }


class _Seconds(ProgressColumn):
    """Seconds since a step began; rich's own column stops where one of its counts is complete."""

    def __init__(self, begin: float) -> None:
        super().__init__()
        self._since = begin

    def render(self, task: Task) -> Text:
        if " left" in task.fields["amount"]:  # two durations side by side are read as one
            return Text()
        return Text(f"{time.monotonic() - self._since:.0f} s")


class RichReporter(Reporter):
    """For a person: a line a step, with a moving bar on a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._summary = ""
        self._begin = self._told = 0.0
        self._pace = Pace()

    def say(self, text: str) -> None:
        """Print one line; the home folder is shown as a shell reads it."""
        self._print(_short(text))

    def _print(self, text: str) -> None:
        """Print one line; the steps of a plan are broken between words where a screen ends.

        All else stays one line, so that what is copied from the screen, a command say, is whole.
        """
        shown = Text.from_markup("".join(one for one in text if one.isprintable() or one == "\n"))
        if not self.console.is_terminal or not shown.plain.startswith(_STEPS):
            self.console.print(shown, highlight=False, soft_wrap=True)
            return
        if len(shown) <= self.console.width:
            self.console.print(shown, highlight=False, soft_wrap=True)
            return
        # A path that is longer than a line stays whole: the terminal breaks it, and copies it so.
        lines = textwrap.wrap(
            shown.plain,
            max(_NARROWEST, self.console.width),
            subsequent_indent=" " * len(_STEPS[0]),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            self.console.print(Text(line), highlight=False, soft_wrap=True)

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Events are for programs."""

    def started(self, step: str, summary: str) -> None:  # noqa: ARG002
        """Show a bar."""
        self._summary = _short(summary)
        self._begin = self._told = time.monotonic()
        self._pace = Pace()
        if not self.console.is_terminal:
            return
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}"),
            _Seconds(self._begin),
            console=self.console,
            transient=True,
        )
        width = max(20, self.console.width - 60)
        line = self._summary
        short = line if len(line) <= width else line[: width - 1] + "…"
        self._task = self._bars.add_task(short, total=None, amount="")
        self._bars.start()

    def progress(self, step: str, done: int, total: int | None) -> None:
        """Move the bar; without a terminal, print a line of JSON now and then."""
        self._pace.see(done)
        if self._bars is None or self._task is None:
            self._tell_log(step, done, total)
            return
        if total is None:
            amount = f"{done / _MIB:.0f} MiB" if done >= _BYTES_FROM else step
        elif total >= _BYTES_FROM:
            amount = f"{done / _MIB:.0f}/{total / _MIB:.0f} MiB{self._rate(total)}"
        else:
            amount = f"{done}/{total}"
        # A step may count one thing after the other, and the second without a known end.
        self._bars.tasks[0].total = total
        self._bars.update(self._task, completed=done, amount=amount)

    def _rate(self, total: int) -> str:
        rate, left = self._pace.rate, self._pace.seconds_left(total)
        if not rate:
            return ""
        rest = "" if left is None else f", {duration_text(left)} left"
        return f" {rate / _MIB:.1f} MiB/s{rest}"

    def _tell_log(self, step: str, done: int, total: int | None) -> None:
        """Tell a log how far long work has come, on standard error: what is done stays text."""
        now = time.monotonic()
        if now - self._told >= _LOG_SECONDS and (total is None or total >= _BYTES_FROM):
            self._told = now
            line = {"event": "progress", **progress_line(self._pace, step, done, total)}
            click.echo(json.dumps(line), err=True)

    def finished(self, step: str, outcome: str) -> None:  # noqa: ARG002
        """Replace the bar by a line."""
        self.close()
        seconds = time.monotonic() - self._begin
        took = f" [dim]{seconds:.1f} s[/dim]" if seconds >= 0.5 else ""  # noqa: PLR2004 - seconds
        mark = "[green]✓[/green]" if outcome in {"done", "taken back"} else "[yellow]•[/yellow]"
        self._print(f"  {mark} {escape(self._summary)}{took}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._task = None


def _short(text: str) -> str:
    home = os.environ.get("HOME", "").rstrip("/")
    return text.replace(f"{home}/", "~/") if home else text


def _lines_of_run() -> JsonLines:
    """Return the lines that the command line began, so that all of a run are one sequence."""
    context = click.get_current_context(silent=True)
    found = context.find_object(JsonLines) if context is not None else None
    return found or JsonLines(context.command_path if context is not None else "")


def make(*, as_json: bool = False, quiet: bool = False, stream: TextIO | None = None) -> Reporter:
    """Return the reporter that the flags ask for; it adds to the lines of this run.

    ``stream``: where a person reads it; None: standard output.
    """
    if as_json:
        return JsonReporter(_lines_of_run())
    return QuietReporter() if quiet else RichReporter(Console(file=stream))
