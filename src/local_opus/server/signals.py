"""What signals ask of this process: kept until it is done, whichever of its servers runs.

SIGTERM and SIGINT end the process, SIGHUP has the config read again. A handler of asyncio goes with
its loop, and what came while one server makes way for the next would be lost with it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDS = (signal.SIGTERM, signal.SIGINT)


def _nobody() -> None:
    """Stand for a server where none runs."""


class Signals:
    """What was asked and is not done yet; ``tell`` is called whenever something is asked."""

    def __init__(self) -> None:
        #: Whether the process shall end; once asked that stays.
        self.ended = False
        #: Whether the config shall be read again.
        self.hung_up = False
        self.tell: Callable[[], object] = _nobody

    def forget(self) -> None:
        """Tell nobody any more."""
        self.tell = _nobody

    @contextmanager
    def keep_ends(self) -> Iterator[None]:
        """Note that the process shall end, in place of ending it at once."""
        with _handled(_ENDS, self._end):
            yield

    @contextmanager
    def keep_hangups(self) -> Iterator[None]:
        """Note that the config shall be read again, also while no server runs."""
        with _handled((signal.SIGHUP,), self._hang_up):
            yield

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.ended = True
        self.tell()

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self.hung_up = True
        self.tell()


@contextmanager
def _handled(
    numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before or signal.SIG_DFL)
