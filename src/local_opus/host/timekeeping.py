"""Whether the kernel's clock is kept by a source of time: adjtimex(2); the time since boot."""

from __future__ import annotations

import ctypes
import time

#: timex of linux/timex.h: ``modes`` first; 208 bytes on 64-bit machines, more is harmless.
_TIMEX_BYTES = 512
#: What adjtimex(2) returns of a clock that nothing keeps.
_TIME_ERROR = 5


def clock_kept() -> bool | None:
    """Tell whether something keeps the clock; None where the kernel can't be asked.

    With no modes set nothing is changed, and no right is needed.
    """
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):  # another C library
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if state < 0 else state != _TIME_ERROR


def uptime() -> float:
    """Return the seconds since this machine was booted, asleep or not: no clock change moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
