"""What the system refuses (a full disk, a missing right), told as an error with its remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from local_opus.errors import LocalOpusError, MachineCannotError


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an OSError into a LocalOpusError that begins with ``what`` was being done."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise MachineCannotError(
                f"{what}: {words(error)}", "Free some space and run this again."
            ) from error
        raise LocalOpusError(
            f"{what}: {words(error)}",
            "Look at the disk and the folder's permissions, then run this again.",
        ) from error


def is_full(error: Exception) -> bool:
    """Tell whether the disk, or a quota on it, was full."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def reason(error: Exception) -> str:
    """Return what an error says, of whatever kind it is, without its remedy."""
    return str(getattr(error, "message", error))


def words(error: LocalOpusError | OSError) -> str:
    """Return what went wrong in a few words."""
    if isinstance(error, LocalOpusError):
        return error.message
    where = f" ({error.filename})" if error.filename else ""
    return f"{(error.strerror or str(error)).lower()}{where}"
