"""What a child process calls between fork and exec. Of the standard library: bootstrap uses it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from local_opus import interrupts

#: ``prctl``'s request "send me this signal when my parent dies" (linux/prctl.h).
_PR_SET_PDEATHSIG = 1


def dies_with_me() -> Callable[[], None]:
    """Return what a child calls to be killed when this process dies.

    Without a usable C library it is not killed, and has the default signals all the same.
    """
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):  # a static or unusual C library
        return interrupts.restore_defaults
    parent = os.getpid()

    def ask() -> None:
        interrupts.restore_defaults()
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before it was asked for
            os.kill(os.getpid(), signal.SIGKILL)

    return ask
