"""``python -m local_opus.tune_service apply|restore``: what local-opus-tune.service runs.

It tells the journal each file that was set, put back, refused, or left to somebody else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from local_opus.errors import ExitCode, LocalOpusError
from local_opus.host import Host
from local_opus.locations import locate
from local_opus.machine import service
from local_opus.report import errors, journal
from local_opus.values import Scope


def _apply(host: Host) -> ExitCode:
    applied = service.start(host, locate(Scope.SYSTEM, host.environ), "unit")
    for path in applied.done:
        journal.tell(f"set: {path}")
    for path, problem in applied.problems.items():
        journal.tell(f"not set: {path}: {problem}")
    if not (applied.done or applied.problems):
        journal.tell("nothing of this machine was chosen to be set")
    return ExitCode.DONE  # what was refused is for status and doctor; the rest is set


def _restore(host: Host) -> ExitCode:
    taken = service.stop(host, locate(Scope.SYSTEM, host.environ))
    for path in taken.done:
        journal.tell(f"put back: {path}")
    for path, now in taken.drifted.items():
        journal.tell(f"left: {path}: somebody else has set {now}")
    return ExitCode.DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Do it; return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    todo = {"apply": _apply, "restore": _restore}.get(" ".join(words))
    if todo is None:
        errors.tell(
            LocalOpusError(f"tune_service {' '.join(words)}: unknown", "Say apply, or restore.")
        )
        return int(ExitCode.BAD_INPUT)
    try:
        return int(todo(Host()))
    except LocalOpusError as error:
        errors.tell(error)
        return int(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        said = (error.strerror or str(error)).lower()
        errors.tell(
            LocalOpusError(f"{where}{said}", "Nothing was set; `local-opus doctor` tells more.")
        )
        return int(ExitCode.FAILED)


if __name__ == "__main__":
    sys.exit(main())
