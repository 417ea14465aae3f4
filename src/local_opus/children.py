"""What ends a child process with its parent. Of the standard library: the bootstrap uses it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from local_opus import interrupts

#: ``prctl``'s request "send me this signal when my parent dies" (linux/prctl.h).
_PR_SET_PDEATHSIG = 1


def dies_with_me() -> Callable[[], None]:
    """Return what a child calls to have the default signals and be killed when this process dies.

    It is prepared here: between fork and exec no library may be loaded.
    """
    die = _dies_with(os.getpid())

    def ask() -> None:
        interrupts.restore_defaults()
        die()

    return ask


def die_with_parent() -> None:
    """Have this process killed when its parent dies."""
    _dies_with(os.getppid())()


def _dies_with(parent: int) -> Callable[[], None]:
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):  # a static or unusual C library: then nothing tells
        return lambda: None

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before it was asked for
            os.kill(os.getpid(), signal.SIGKILL)

    return ask
