"""Words about an environment that is being made: on standard error, so that JSON stays whole."""

from __future__ import annotations

import sys


class SetUpScreen:
    """Says once what is made, then shows on a terminal how far it is, in one line that changes."""

    def __init__(self, announcement: str) -> None:
        self._announcement = announcement
        self._shown = False

    def progress(self, text: str) -> None:
        """Show what happens now, in place of what was shown before."""
        if self._announcement:
            self.note(self._announcement)
            self._announcement = ""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
            self._shown = True

    def note(self, text: str) -> None:
        """Say one line that stays."""
        self.clear()
        sys.stderr.write(f"{text}\n")

    def clear(self) -> None:
        """Take the changing line away."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self._shown = False
