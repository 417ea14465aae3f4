"""What the running kernel tells by system calls, where /proc is hidden (ProcSubset=pid)."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Bytes, as sysinfo(2) counts them."""

    total: int
    free: int
    swap_total: int
    swap_free: int


class Kernel:
    """The running kernel; an image has none, so nothing is told of it."""

    def __init__(self, *, is_image: bool = False) -> None:
        self._is_image = is_image

    def release(self) -> str | None:
        """Return the release, e.g. 6.12.1-amd64."""
        return None if self._is_image else os.uname().release

    def machine(self) -> str | None:
        """Return the machine word, e.g. x86_64."""
        return None if self._is_image else os.uname().machine

    def memory(self) -> Memory | None:
        """Return sysinfo(2)'s memory; None where the call fails."""
        if self._is_image:
            return None
        import ctypes  # noqa: PLC0415 - needed where /proc is hidden, and takes a while

        class Sysinfo(ctypes.Structure):
            _fields_ = (
                ("uptime", ctypes.c_long), ("loads", ctypes.c_ulong * 3),
                *((name, ctypes.c_ulong) for name in (
                    "totalram", "freeram", "sharedram", "bufferram", "totalswap", "freeswap")),
                ("procs", ctypes.c_ushort), ("pad", ctypes.c_ushort),
                ("totalhigh", ctypes.c_ulong), ("freehigh", ctypes.c_ulong),
                ("mem_unit", ctypes.c_uint), ("_padding", ctypes.c_char * 64),
            )  # fmt: skip

        found = Sysinfo()
        try:
            if ctypes.CDLL(None).sysinfo(ctypes.byref(found)) != 0:
                return None
        except (OSError, AttributeError):  # no such call in this C library
            return None
        unit = found.mem_unit or 1
        return Memory(found.totalram * unit, found.freeram * unit,
                      found.totalswap * unit, found.freeswap * unit)  # fmt: skip
