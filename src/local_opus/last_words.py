"""Why a program of ours ended, by what it printed. Pure."""

from __future__ import annotations

import re

_ERROR, _FIX = "error: ", "fix: "
#: The server's log of what goes well: a time and a level (server/main.py, log_to_stderr).
_ROUTINE = re.compile(r"\S+ \S+ (DEBUG|INFO) ")


def last_words(text: str, *, one_run: bool) -> tuple[str, str]:
    """Return the error and its remedy; an empty text where there is none.

    The program writes them as ``error: ...`` and ``  fix: ...``. Anything else that it wrote last,
    such as the end of a traceback, counts as the error, but for what tells that all is well.
    Without ``one_run`` earlier runs wrote into ``text`` too: an error whose remedy is not the very
    last line is one of theirs, and so is all that stands before a line of a run that went well.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if one_run:
        lines = [line for line in lines if not _ROUTINE.match(line)]
    elif lines and _ROUTINE.match(lines[-1]):
        return "", ""
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    if errors and (one_run or lines[-1].startswith(_FIX)):
        fixes = [line.removeprefix(_FIX) for line in lines if line.startswith(_FIX)]
        return errors[-1], (fixes or [""])[-1]
    return (lines or [""])[-1], ""
