"""Runs a program under a seccomp filter, as a unit's SystemCallFilter= does it, without systemd.

Usage: python confined.py NUMBER[,NUMBER...] PROGRAM...: these system calls (x86-64) are EPERM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/filter.h: ld abs, jeq, ret
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def confine(numbers: list[int]) -> None:
    lines = [_Instruction(_LOAD, 0, 0, 0)]
    for number in numbers:
        lines += [
            _Instruction(_EQUAL, 0, 1, number),
            _Instruction(_RETURN, 0, 0, _ERRNO | errno.EPERM),
        ]
    lines.append(_Instruction(_RETURN, 0, 0, _ALLOW))
    program = _Program(len(lines), (_Instruction * len(lines))(*lines))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    confine([int(word) for word in sys.argv[1].split(",")])
    os.execvp(sys.argv[2], sys.argv[2:])
