"""Questions to a person on a terminal. Not a terminal: never a prompt, exit 2 at once."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from local_opus.errors import BadInputError, InterruptedRunError

if TYPE_CHECKING:
    from local_opus.licensing import Terms

#: Columns that a choice's pointer takes, and the fewest that a text is wrapped to.
_POINTER = 4
_NARROWEST = 20


def on_terminal() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def require_terminal(*, dry_run: bool = True) -> None:
    """Raise BadInputError where nobody can be asked; ``dry_run``: the command has such a flag."""
    if not on_terminal():
        or_look = ", or --dry-run to see the plan" if dry_run else ""
        raise BadInputError(
            "not a terminal, and no --yes: nobody can be asked",
            f"Add --yes to go on without questions{or_look}.",
        )


def confirm(question: str, *, yes: bool, dry_run: bool = True) -> None:
    """Ask once; ``yes`` answers. Raises InterruptedRunError when the answer is no."""
    if yes:
        return
    require_terminal(dry_run=dry_run)
    import questionary

    if not questionary.confirm(question, default=True).ask():
        raise _stopped()


def accept(terms: Terms) -> None:
    """Show a licence that is not a free one, and ask for it. Raises InterruptedRunError for a no.

    Raises the refusal of ``terms`` where nobody can be asked.
    """
    if not on_terminal():
        raise terms.refusal()
    import questionary

    note = f" {terms.note}" if terms.note else ""
    click.echo(f"{terms.model} is under the licence {terms.license}.{note}", err=True)
    click.echo(f"Read it: {terms.page}", err=True)
    if not questionary.confirm("Do you accept this licence?", default=False).ask():
        raise _stopped()


def select(question: str, choices: Sequence[tuple[str, str]], default: str | None = None) -> str:
    """Ask for one of ``(value, text)``; Ctrl-C raises InterruptedRunError."""
    require_terminal()
    import questionary

    answer = questionary.select(
        question,
        choices=[questionary.Choice(title=_fitted(text), value=value) for value, text in choices],
        default=default,
    ).ask()
    if answer is None:
        raise _stopped()
    return str(answer)


def _fitted(text: str) -> str:
    """Return a choice's text in lines that the terminal holds: it would break them in mid-word."""
    width = max(_NARROWEST, shutil.get_terminal_size().columns - _POINTER)
    return textwrap.fill(
        text,
        width,
        subsequent_indent="     ",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def go_on(target: str | None) -> str | None:
    """Ask whether to go on; return the file that the answers go to, None: to none.

    Where ``target`` names one already, another is not offered. A no raises InterruptedRunError.
    """
    if target is not None:
        confirm("Go on?", yes=False)
        return target
    saving = "Save the answers to a file, and go on"
    choices = [("go", "Go on"), ("save", saving), ("stop", "Stop")]
    word = select("Go on?", choices, "go")
    if word == "stop":
        raise _stopped()
    return _ask_name() if word == "save" else None


def _ask_name() -> str:
    """Ask for the name of a new file."""
    import questionary

    from local_opus.cli.answering import free_name

    name = questionary.text("Which file?", default="answers.toml", validate=free_name).ask()
    if name is None:
        raise _stopped()
    return str(name)


def _stopped() -> InterruptedRunError:
    return InterruptedRunError("nothing was changed", "Run it again when you are ready.")
