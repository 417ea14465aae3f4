"""The one error type that all rooms share, and the exit codes of the command line."""

from __future__ import annotations

import difflib
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    PROBLEM_FOUND = 3
    MACHINE_CANNOT = 4
    INTERRUPTED = 130


class LocalOpusError(Exception):
    """An error with its remedy.

    ``message`` is one line that names the file, field or host; ``remedy`` is one line that says
    what to do next; ``details`` are further problems of the same kind, one line each (all errors
    of a profile file, say).
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, remedy: str, *, details: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = tuple(details)


class BadInputError(LocalOpusError):
    """The user's words, files or flags are wrong; nothing was changed."""

    exit_code = ExitCode.BAD_INPUT


class ProblemFoundError(LocalOpusError):
    """Verify or doctor found a problem."""

    exit_code = ExitCode.PROBLEM_FOUND


class MachineCannotError(LocalOpusError):
    """This machine lacks something that the request needs."""

    exit_code = ExitCode.MACHINE_CANNOT


class WorkerError(LocalOpusError):
    """A worker reported an error, crashed or ran over its time limit."""


class SilentSystemdError(LocalOpusError):
    """A user's systemd runs and can't be asked, so what it runs can't be ended from here."""


class KeyNeededError(LocalOpusError):
    """The server wants a key, and this user has none that it takes."""


class InterruptedRunError(LocalOpusError):
    """The user interrupted a run that can be resumed."""

    exit_code = ExitCode.INTERRUPTED


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean "x"?`` with the nearest choice, or an empty string."""
    by_fold = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.5)
    return f' Did you mean "{by_fold[near[0]]}"?' if near else ""
