"""Questions to a person on a terminal. Not a terminal: never a prompt, exit 2 at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from local_opus.errors import BadInputError, InterruptedRunError


def on_terminal() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def require_terminal() -> None:
    """Raise BadInputError where nobody can be asked."""
    if not on_terminal():
        raise BadInputError(
            "not a terminal, and no --yes: nobody can be asked",
            "Add --yes to go on without questions, or --dry-run to see the plan.",
        )


def confirm(question: str, *, yes: bool) -> None:
    """Ask once; ``yes`` answers. Raises InterruptedRunError when the answer is no."""
    if yes:
        return
    require_terminal()
    import questionary

    if not questionary.confirm(question, default=True).ask():
        raise InterruptedRunError("nothing was changed", "Run it again when you are ready.")


def select(question: str, choices: Sequence[tuple[str, str]], default: str | None = None) -> str:
    """Ask for one of ``(value, text)``; Ctrl-C raises InterruptedRunError."""
    require_terminal()
    import questionary

    answer = questionary.select(
        question,
        choices=[questionary.Choice(title=text, value=value) for value, text in choices],
        default=default,
    ).ask()
    if answer is None:
        raise InterruptedRunError("nothing was changed", "Run it again when you are ready.")
    return str(answer)
