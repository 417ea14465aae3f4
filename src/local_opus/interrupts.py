"""SIGINT, SIGTERM and SIGHUP stop a command alike: at once, with words, and to be gone on with.

Standard library alone: the bootstrap uses it before any package is there. For programs that a
person starts; the server has handlers of its own.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

#: What a person, a service manager and a terminal that closes send.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds in which further signals are passed over: the children's end and the journal's last
#: record take less.
_PATIENCE = 10.0
#: Seconds after which an exception that was lost is raised again.
_AGAIN = 0.02


class Interrupted(KeyboardInterrupt):
    """A signal asked this program to stop; the text is the signal's name."""


class _Handler:
    """Raises Interrupted where the main thread is, and again where that was swallowed.

    Python drops what is raised in a destructor or in a hook of fork, and every child is forked.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None or now - self._since > _PATIENCE:
            self._since = now
            raise Interrupted(signal.Signals(number).name)

    def dropped(self, what: sys.UnraisableHookArgs) -> None:
        """Stand in for sys.unraisablehook."""
        if isinstance(what.exc_value, Interrupted):
            name = str(what.exc_value)
            signal.signal(signal.SIGALRM, lambda _number, _frame: self._raise(name))
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            sys.__unraisablehook__(what)

    @staticmethod
    def _raise(name: str) -> None:
        raise Interrupted(name)


def raise_on_signals() -> None:
    """Raise Interrupted at STOPPING from now on, but for those that the caller ignores (nohup)."""
    handler = _Handler()
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
    sys.unraisablehook = handler.dropped


def ignore_signals() -> None:
    """Ignore STOPPING: the work is done, and the interpreter is about to end."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.unraisablehook = sys.__unraisablehook__
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def restore_defaults() -> None:
    """Give STOPPING its default actions: for a child, between fork and exec.

    Handlers are dropped by exec itself; a signal that is ignored would stay so in the child.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
