"""Numbers as people read them."""

from __future__ import annotations

_STEPS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_KIB = 1024


def size_text(size: float) -> str:
    """Return bytes in binary units with one decimal below 100: ``8.1 GiB``, ``512 MiB``."""
    step = 0
    while abs(size) >= _KIB and step < len(_STEPS) - 1:
        size /= _KIB
        step += 1
    if step == 0:
        return f"{size:.0f} bytes"
    text = f"{size:.1f}" if abs(size) < 99.95 else f"{size:.0f}"  # noqa: PLR2004 - the rounding edge of one decimal
    return f"{text.removesuffix('.0')} {_STEPS[step]}"


def rate_text(rate: float) -> str:
    """Return a rate that is only expected with two digits that count: ``1.4``, ``120``."""
    return f"{float(f'{rate:.2g}'):g}"
