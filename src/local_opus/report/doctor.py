"""What ``doctor`` found: a table for a person in 80 columns, a document for programs."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from local_opus.checks.base import Check, Group
from local_opus.doctor import Diagnosis
from local_opus.errors import ExitCode
from local_opus.invocation import as_typed, name
from local_opus.report.chains import fix_lines
from local_opus.values import CheckResult, CheckState

_SCHEMA_ID = "doctor.schema.json"
#: The word and the colour of each state; the worst first, as the summary's problems are.
_WORDS = {
    CheckState.FAIL: ("FAIL", "bold red"),
    CheckState.WARN: ("warn", "yellow"),
    CheckState.PASS: ("pass", "green"),
    CheckState.NOT_APPLICABLE: ("-", "dim"),
}
_NARROWEST = 40
_WIDEST = 100
#: Columns of a line's state and its gap.
_STATE = 6
#: Columns of a title and its gap.
_TITLE = 20


def diagnosis_json(found: Diagnosis) -> dict[str, JsonValue]:
    """Return what ``doctor --json`` prints; ``schema_text`` describes it."""
    document: dict[str, JsonValue] = found.model_dump(mode="json")
    return document | {
        "summary": {state.value: found.counts[state] for state in CheckState},
        "exit_code": int(found.exit_code),
    }


def schema_text() -> str:
    """Return the schema as docs/doctor.schema.json holds it."""
    schema = Diagnosis.model_json_schema(mode="serialization")
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:  # what has a default is printed all the same
            part["required"] = list(part["properties"])
    states = [state.value for state in CheckState]
    count = {"type": "integer", "minimum": 0}
    schema["properties"] |= {
        "summary": {
            "type": "object",
            "description": "how many results there are of each state",
            "properties": dict.fromkeys(states, count),
            "required": states,
            "additionalProperties": False,
        },
        "exit_code": {"type": "integer", "description": "of the process: 3 where one fails"},
    }
    schema["required"] += ["summary", "exit_code"]
    title = "The output of `local-opus doctor --json`"
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": _SCHEMA_ID}
    return json.dumps(head | schema | {"title": title}, indent=2) + "\n"


def show(found: Diagnosis, console: Console) -> None:
    """Print it for a person: each group, and the summary."""
    for group in Group:
        ours = [one for one in found.results if one.group == group.value]
        if not ours:
            continue
        console.print(Text(group.value, style="bold cyan"))
        for result in sorted(ours, key=lambda one: [*_WORDS].index(one.state)):
            for line in _lines(result, _width(console)):
                console.print(line, soft_wrap=True)
    console.print()
    for state in (CheckState.FAIL, CheckState.WARN):  # the table may have scrolled away
        titles = [one.title for one in found.results if one.state is state]
        if titles:
            word, style = _WORDS[state]
            for part in _wrap(f"{word}: {', '.join(titles)}", _width(console)):
                console.print(Text(part, style=style))
    console.print(Text(summary(found)), soft_wrap=True)


def summary(found: Diagnosis) -> str:
    """Return the last line: how many of each state, and how long it took."""
    counts = found.counts
    order = (CheckState.PASS, CheckState.WARN, CheckState.FAIL, CheckState.NOT_APPLICABLE)
    said = ", ".join(f"{counts[state]} {state.value}" for state in order)
    line = f"{said} in {found.seconds:.1f} s"
    if any(one.fixable for one in found.results):
        line += f"\nRun `{name()} doctor --fix` to have done what it can do by itself."
    return line


def exit_code_of_fix(after: Diagnosis, *, dry_run: bool) -> ExitCode:
    """Return the exit code of ``--fix``: a step that failed outranks what the checks say."""
    if not dry_run and any(step.problem is not None for step in after.fixes):
        return ExitCode.FAILED
    return after.exit_code


def show_steps(lines: Sequence[str], console: Console) -> None:
    """Print what ``--fix`` would do."""
    console.print()
    words = "doctor --fix does:" if lines else "Nothing of this can be fixed here by itself."
    console.print(Text(words, style="bold"))
    for line in lines:
        console.print(Text(f"  • {_short(line)}"), soft_wrap=True)


def show_changes(before: Diagnosis, after: Diagnosis, console: Console) -> None:
    """Print what became of the checks that were asked again, and of what could not be done."""
    console.print()
    for step in after.fixes:
        if step.problem is not None:
            console.print(Text(f"not done: {step.problem}", style="bold red"), soft_wrap=True)
            console.print(Text(as_typed(f"     fix: {step.remedy}")), soft_wrap=True)
    was = {result.id: result for result in before.results}
    for result in after.results:
        then = was[result.id]
        same_words = (then.state, then.evidence) == (result.state, result.evidence)
        if same_words or (then.state is result.state is CheckState.PASS):
            continue
        change = f"{then.state.value} → {result.state.value}"
        word, style = _WORDS[result.state]
        line = Text(f"{word:<{_STATE}}", style=style)
        line.append(f"{result.title}: {change}: {_short(result.evidence)}")
        console.print(line, soft_wrap=True)
    console.print(Text(summary(after)), soft_wrap=True)


def _width(console: Console) -> int:
    return max(_NARROWEST, min(_WIDEST, console.width))


def _lines(result: CheckResult, width: int) -> Iterator[Text]:
    word, style = _WORDS[result.state]
    quiet = "dim" if result.state is CheckState.NOT_APPLICABLE else ""
    indent = " " * (_STATE + _TITLE)
    for number, part in enumerate(_wrap(_short(result.evidence), width - _STATE - _TITLE)):
        if number:
            yield Text(indent + part, style=quiet)
            continue
        line = Text(f"{word:<{_STATE}}", style=style)
        line.append(f"{result.title:<{_TITLE - 1}} {part}", style=quiet)
        yield line
    if result.state in {CheckState.PASS, CheckState.NOT_APPLICABLE}:
        return
    for detail in result.details:
        for part in _wrap(_short(detail), width - _STATE - 2):
            yield Text(" " * _STATE + "  " + part, style="dim")
    yield from _fix(result, width)


def _fix(result: CheckResult, width: int) -> Iterator[Text]:
    if result.fix is None:
        return
    fix = result.fix.model_copy(
        update={
            "text": as_typed(result.fix.text),
            "commands": tuple(map(_typed, result.fix.commands)),
        }
    )
    indent = " " * (_STATE - 2)
    for line in fix_lines(fix, width - len(indent)):
        yield Text(indent + line)


def _typed(command: str) -> str:
    """Return a command as this program's user types it."""
    return as_typed(f"`{command}`")[1:-1]


def _short(text: str) -> str:
    """Return a text with the home folder as a shell reads it."""
    home = os.environ.get("HOME", "").rstrip("/")
    return text.replace(f"{home}/", "~/") if home else text


def _wrap(text: str, width: int) -> Sequence[str]:
    clean = "".join(letter for letter in text if letter.isprintable())
    return textwrap.wrap(clean, width, break_on_hyphens=False, break_long_words=False) or [""]


class Progress:
    """Says on a terminal how many checks have not answered yet."""

    def __init__(self, console: Console, total: int) -> None:
        self._status = (
            console.status(f"{total} checks at work ...") if console.is_terminal else None
        )

    def __enter__(self) -> Self:
        """Show it."""
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        if self._status is not None:
            self._status.stop()

    def tell(self, check: Check, left: int) -> None:
        """Tell of a check that has answered."""
        if self._status is not None and left:
            self._status.update(f"{left} checks at work; {check.title} has answered")
