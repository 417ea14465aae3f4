"""Keeps systemd from ending a start that gets on before there is a loop to tell it so."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from local_opus.server.notify import PUSH, extend


class Starting:
    """While it is open, more time is asked for as long as ``progress`` is told of more.

    Gigabytes are hashed before the server listens: that takes as long as the disk does. A disk that
    hangs tells no progress, and systemd ends the start when its time is up.
    """

    def __init__(self, what: str, *, push: float = PUSH) -> None:
        self._what = what
        self._push = push
        self._done = self._total = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True, name="starting")

    def __enter__(self) -> Self:
        extend(self._what)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def progress(self, _what: str, done: int, total: int) -> None:
        """Take how many bytes of how many are done; any thread may tell."""
        self._done, self._total = done, total

    def _tell(self) -> None:
        told = 0
        while not self._over.wait(self._push):
            done, total = self._done, self._total
            if done > told:
                told = done
                extend(f"{self._what}: {100 * done // max(1, total)} % of {total // 10**6} MB")
