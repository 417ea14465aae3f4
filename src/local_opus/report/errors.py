"""Errors on standard error: what, further problems of the same kind, and the remedy."""

from __future__ import annotations

import os
import sys

from local_opus import invocation
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.report.lines import JsonLines


def _shown(line: str) -> str:
    """Return a line without what moves a terminal's cursor: it may quote a driver or a file."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in line
    )


def tell(error: LocalOpusError, lines: JsonLines | None = None) -> None:
    """Print an error: one line that names what, one that says what to do.

    Where the user asked for JSON, it is the last of the ``lines`` too.
    """
    kind = "stopped" if isinstance(error, InterruptedRunError) else "error"
    for line in (
        f"{kind}: {error.message}",
        *(f"       {detail}" for detail in error.details),
        f"{'next' if kind == 'stopped' else 'fix':>{len(kind)}}: {error.remedy}",
    ):
        sys.stderr.write(f"{_shown(invocation.as_typed(line))}\n")
    if lines is not None and lines.wanted:
        try:
            lines.error(error, error.exit_code)
        except BrokenPipeError:  # whoever read the lines left; the words above were told
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(line: str) -> None:
    """Print one line that is no error."""
    sys.stderr.write(f"{_shown(line)}\n")
