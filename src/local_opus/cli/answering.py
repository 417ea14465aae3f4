"""Answers files of the command line: read before the other options, written on request."""

from __future__ import annotations

import os
import sys

from local_opus import answers
from local_opus.answers import Answers
from local_opus.catalog.own import known_ids
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Files, Host
from local_opus.refusals import words

_MODE = 0o644


def read(name: str) -> Answers:
    """Return the answers of a file, or of standard input for ``-``. Raises BadInputError."""
    if name == answers.STDIN:
        return answers.load(name, _read_stdin, pinned())
    path = os.path.abspath(name)
    return answers.load(name, lambda limit: Files("/").read_bytes(path, limit), pinned())


def pinned() -> list[str]:
    """Return the models that were pinned on this machine."""
    return known_ids(Host())


def _read_stdin(limit: int) -> bytes:
    if sys.stdin is None or sys.stdin.closed:
        raise BadInputError("answers: standard input is closed", "Name a file instead.")
    if sys.stdin.isatty():  # who typed `-` by mistake would wait for nothing
        raise BadInputError(
            "answers: standard input is a terminal", "Name a file, or lead one in: `< FILE`."
        )
    return sys.stdin.buffer.read(limit)


def check_target(name: str) -> None:
    """Raise BadInputError where no answers can be saved: told before anything is asked or done."""
    if problem := _problem(name):
        raise BadInputError(f"answers {name}: {problem}", "Name a new file in a folder of yours.")


def _problem(name: str) -> str | None:
    """Say why a file of this name can't be written; one with the same content is judged later."""
    if name in {"", answers.STDIN}:
        return "not a file's name"
    path = os.path.abspath(name)
    folder, last = os.path.split(path)
    if last == "":
        return "is a folder"
    try:
        above = Files("/").stat(folder, follow=True)
        found = Files("/").stat(path)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    if above is None or above.kind != "folder":
        return f"there is no folder {folder}"
    if found is None:
        return None if os.access(folder, os.W_OK | os.X_OK) else f"{folder} can't be written to"
    kinds = {"folder": "is a folder", "link": "is a link", "other": "is no regular file"}
    return kinds.get(found.kind)


def free_name(name: str) -> str | bool:
    """Return True, or what is wrong with a name, as questionary wants it."""
    problem = _problem(name)
    if problem is None and os.path.lexists(name):
        problem = "is there already"
    return True if problem is None else problem


def save(name: str, given: Answers) -> None:
    """Write answers; a file that is there must hold the very same. Raises LocalOpusError."""
    check_target(name)
    path, data, files = os.path.abspath(name), answers.dump(given), Files("/")
    try:
        if files.stat(path) is None:
            files.write_atomic(path, data, mode=_MODE)
        elif files.read_bytes(path, answers.LONGEST) != data:
            raise BadInputError(
                f"answers {name}: is there already, and says something else",
                "Name a new file, or remove that one.",
            )
    except OSError as error:
        raise LocalOpusError(
            f"answers {name}: {words(error)}", "Name a file elsewhere; nothing was installed."
        ) from None
