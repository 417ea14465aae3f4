"""Text out of tokens that arrive one by one: whole characters only, cut at stop strings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

REPLACEMENT = "\ufffd"
#: Tokens that are decoded again with each new one at most; then the window moves on.
WINDOW = 24
#: Tokens that stay in the window when it moves.
OVERLAP = 8
#: Characters that the overlap must hold. A character that the window's start cut in half leaves at
#: most three stray bytes, so a fourth character is a whole one, and from there on the text of the
#: window is the text of the whole.
ANCHOR = 4


class Detokenizer:
    """The text of a growing list of tokens.

    A token may hold part of a character, and a tokenizer may drop a space at the start or write a
    token differently after another one. So a window of tokens is decoded together, and only what
    is new in its text is handed on. Bytes that don't make a character yet are held back, whether
    the tokenizer leaves them out or shows them as U+FFFD.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._shown = ""

    def add(self, tokens: Iterable[int]) -> str:
        """Return the text that ``tokens`` complete."""
        self._window.extend(tokens)
        text = self._decode(self._window).rstrip(REPLACEMENT)
        new = text[len(self._shown) :]
        if new:
            self._shown = text
        if len(self._window) > WINDOW:
            self._move()
        return new

    def finish(self) -> str:
        """Return what was held back: only bytes that never became a character."""
        return self._decode(self._window)[len(self._shown) :]

    def _move(self) -> None:
        tail = self._window[-OVERLAP:]
        text = self._decode(tail).rstrip(REPLACEMENT)
        if len(text) >= ANCHOR:
            self._window, self._shown = tail, text


class StopStrings:
    """Cuts a stream of text at the stop string that is complete first.

    Text that may be the beginning of a stop string is held back until that is decided.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.hit = False

    def add(self, text: str) -> str:
        """Return the text that can be shown now; ``hit`` tells whether a stop string was found."""
        if self.hit:
            return ""
        text = self._held + text
        found = [
            (text.index(stop) + len(stop), text.index(stop)) for stop in self._stops if stop in text
        ]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)[1]]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Return what was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of ``text`` begin ``stop``, but are not all of it."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
