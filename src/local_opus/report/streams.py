"""Standard streams that outlive their reader: what can't be told does not stop what is done.

Standard library alone: the bootstrap uses it before any package is there.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: A pipe whose reader left, a terminal that is gone.
_LEFT = frozenset({errno.EPIPE, errno.EIO})
_NUMBERS = {0: "standard input", 1: "standard output", 2: "standard error"}


class _Lasting(io.FileIO):
    """A descriptor of output that becomes /dev/null at the first write that fails."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.problem: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or drop what nobody can read any more."""
        try:
            while (count := super().write(data)) is None:  # another program made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            self.problem = error
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self.fileno())
            os.close(null)
            return memoryview(data).nbytes
        return count


_lasting: dict[int, _Lasting] = {}
#: Those that were closed when this process was started.
_closed: set[int] = set()


def take_over() -> None:
    """Make the standard streams of this process lasting; those that are closed lead nowhere.

    A descriptor that is closed would be given to the next file that is opened, a receipt say, and
    whatever prints would write into it. Characters that the locale lacks are written as escapes.
    """
    for number in _NUMBERS:
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY
            null = os.open(os.devnull, flags)  # the lowest free number
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # noqa: FBT003 - os takes it so
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as we run
    sys.stdout = _lasting_text(1, sys.stdout)
    sys.stderr = _lasting_text(2, sys.stderr)


def _lasting_text(number: int, former: TextIO | None) -> TextIO:
    if former is not None:
        with suppress(OSError):
            former.flush()
    raw = _lasting[number] = _Lasting(number)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=former.encoding if former is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or raw.isatty(),  # noqa: PLR2004 - standard error
    )


def reader_left() -> bool:
    """Tell whether nobody reads standard output any more."""
    raw = _lasting.get(1)
    return raw is not None and raw.problem is not None and raw.problem.errno in _LEFT


def unseen() -> bool:
    """Tell whether words on standard output reached nobody: lost, unwanted, or it was closed."""
    if not _lasting:
        return False
    sys.stdout.flush()
    return 1 in _closed or _lasting[1].problem is not None


def lost() -> OSError | None:
    """Return why words on standard output were lost, unless it is that nobody wanted them."""
    if not _lasting:
        return None
    sys.stdout.flush()
    problem = _lasting[1].problem
    return None if problem is None or problem.errno in _LEFT else problem
