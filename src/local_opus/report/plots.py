"""Small plots for a terminal, one character a column: blocks, or ASCII where there are none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

_BLOCKS = " ▁▂▃▄▅▆▇█"
#: Heights that ASCII tells apart in one line.
_ASCII = " _.-=*#"


def columns(
    points: Iterable[tuple[float, float]], begin: float, end: float, width: int
) -> list[float | None]:
    """Return the median of the values of each of ``width`` equal parts of begin to end.

    ``points`` are (time, value); None: a part without any.
    """
    parts: list[list[float]] = [[] for _ in range(width)]
    for time, value in points:
        if begin <= time <= end and end > begin:
            parts[min(width - 1, int((time - begin) / (end - begin) * width))].append(value)
    return [median(part) if part else None for part in parts]


def bars(values: Sequence[float | None], *, height: int = 1, plain: bool = False) -> list[str]:
    """Return ``height`` lines, the top one first; a value of zero or none is the lowest or blank.

    The highest value fills the height: zero is at the bottom, so that small changes look small.
    """
    marks = _ASCII if plain else _BLOCKS
    steps = len(marks) - 1
    top = max((value for value in values if value is not None), default=0.0)
    lines = []
    for line in reversed(range(height)):
        text = ""
        for value in values:
            if value is None:
                text += " "
                continue
            filled = round(value / top * steps * height) if top > 0 else 0
            filled = max(1, filled)  # there was a value: it shows
            text += marks[max(0, min(steps, filled - line * steps))]
        lines.append(text)
    return lines
