"""Why a program of ours ended, by what it printed. Pure."""

from __future__ import annotations

_ERROR, _FIX = "error: ", "fix: "


def last_words(text: str, *, one_run: bool) -> tuple[str, str]:
    """Return the error and its remedy; an empty text where there is none.

    The program writes them as ``error: ...`` and ``  fix: ...``. Anything else that it wrote last,
    such as the end of a traceback, counts as the error. Without ``one_run`` earlier runs wrote into
    ``text`` too: an error whose remedy is not the very last line is one of theirs.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    if errors and (one_run or lines[-1].startswith(_FIX)):
        fixes = [line.removeprefix(_FIX) for line in lines if line.startswith(_FIX)]
        return errors[-1], (fixes or [""])[-1]
    return (lines or [""])[-1], ""
