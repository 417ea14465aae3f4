"""Whether the receipt of the install is there, sound and at rest."""

from __future__ import annotations

from local_opus import __version__
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.errors import LocalOpusError
from local_opus.history import History
from local_opus.restoring import install_command


def ask(context: Context) -> Answer:
    """Read it to its end; each record's checksum holds the one before."""
    path = context.locations.receipt
    try:
        journal = context.read_journal()
    except PermissionError:
        return warned(
            f"{path}: closed to this user, so what was installed is not known",
            advise("Run doctor as its owner.", "sudo local-opus doctor"),
        )
    except LocalOpusError as error:
        return failed(error.message, advise(error.remedy), details=error.details)
    if journal is None:
        raise NotApplicableError(f"nothing is installed in the scope {context.scope}")
    history, records = journal.history, len(journal.receipt.records)
    if not history.finished:
        what = "no run was finished" if history.rested is None else "the last run did not end"
        if _is_pulled_only(history):
            return passed(f"{records} records: models without an install")
        if context.at_work():
            return warned(
                f"{path}: a run is at work now", advise("Wait for its end, then run doctor again.")
            )
        return failed(
            f"{path}: {what}: an install was killed",
            advise("Let it end, or go on with it.", install_command(history)),
        )
    run = history.last_run
    model = f", model {run['model']}" if run.get("model") else ""
    said = f"{records} records, profile {run.get('profile')}{model}"
    was = str(run.get("program"))
    if was != __version__:
        return warned(
            f"{said}; version {was} is installed, and this is {__version__}",
            advise("Bring it to this version.", "local-opus upgrade"),
        )
    return passed(said)


def _is_pulled_only(history: History) -> bool:
    """Whether models were pulled, and nothing was ever installed."""
    return not history.run.get("profile")


CHECK = Check("receipt", "receipt", Group.INSTALL, ask)
