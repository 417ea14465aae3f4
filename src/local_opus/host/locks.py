"""One change at a time: an flock that names its holder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO

from local_opus.errors import LocalOpusError
from local_opus.host.files import Files

#: How long a holder is waited for that has the lock and has not written its PID yet.
NAMED_SECONDS = 1.0
_POLL_SECONDS = 0.02
#: How often a lock's folder is made anew that others remove.
_MAX_MADE = 20
#: Between two looks at a lock that is waited for.
_WAIT_SECONDS = 0.2


@contextmanager
def exclusive(files: Files, path: str) -> Iterator[None]:
    """Hold the lock at ``path`` (an absolute path; its folder exists).

    The kernel drops the lock with the process, so a killed run leaves none behind. Raises
    LocalOpusError with the holder's PID when another run holds it.
    """
    with _locked(files, path) as stream:
        os.ftruncate(stream.fileno(), 0)
        with suppress(OSError):  # on a full disk the lock holds, and only its holder has no name
            stream.write(f"{os.getpid()}\n".encode())
        try:
            yield
        finally:
            with suppress(OSError):  # all is done, and who comes next writes it anew
                os.ftruncate(stream.fileno(), 0)


@contextmanager
def waited(files: Files, path: str, tell: Callable[[int | None], None]) -> Iterator[None]:
    """Hold the lock at ``path`` as ``exclusive`` does, but wait for a run that holds it.

    ``tell`` is called with its PID while it is waited for. The folder is made anew where the holder
    removed it at its end.
    """
    made = 0
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(exclusive(files, path))
                break
            except HeldError as error:
                tell(error.holder)
                time.sleep(_WAIT_SECONDS)
            except FileNotFoundError:
                made += 1
                if made > _MAX_MADE:
                    raise
                with suppress(FileNotFoundError):  # it was removed while it was made
                    files.make_folders(path.rpartition("/")[0])
        yield


def _locked(files: Files, path: str) -> BinaryIO:
    """Open and lock the file that ``path`` names now: its last holder may have removed it."""
    deadline = time.monotonic() + NAMED_SECONDS
    while True:
        stream = files.open_append(path)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine, named = os.fstat(stream.fileno()), files.stat(path)
        except BlockingIOError as error:
            stream.close()
            holder = _holder(files, path)
            if holder is None and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                continue
            raise HeldError(path, holder) from error
        except BaseException:
            stream.close()
            raise
        if named is not None and (mine.st_dev, mine.st_ino) == (named.device, named.inode):
            return stream
        stream.close()


class HeldError(LocalOpusError):
    """Another run holds the lock; ``holder`` is its PID, None where it is not known."""

    def __init__(self, path: str, holder: int | None) -> None:
        self.holder = holder
        named = f" (PID {holder})" if holder is not None else ""
        end = f", or end it with `kill {holder}`; its work is resumable" if holder else ""
        super().__init__(
            f"{path}: another run is changing this machine{named}",
            f"Wait for it{end}."
            if end
            else "Wait for it, and run this again; its work is resumable.",
        )


def _holder(files: Files, path: str) -> int | None:
    """Return the PID of a process that lives; None: the holder has not written its own yet.

    What stands there until then may be that of a holder that was killed.
    """
    try:
        text = files.read_text(path, 32).strip()
    except FileNotFoundError:  # it has come to its end just now
        return None
    pid = int(text) if text.isascii() and text.isdigit() else 0
    return pid if pid and _lives(pid) else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def is_held(files: Files, path: str) -> bool:
    """Tell whether a process holds the lock at ``path``; raises OSError where it can't be opened.

    The lock is tried for a moment, shared: a run that begins just then waits for a second anyway.
    """
    with files.open_read(path, follow=False) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextmanager
def folder(files: Files, path: str) -> Iterator[None]:
    """Hold a folder itself, for the moments in which something gets its name there; waits."""
    with files.hold_folder(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
