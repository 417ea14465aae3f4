"""Tries of the sandbox probe: which system calls reach the kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from local_opus.runtime.tries import SECONDS, Tried, Try, allowed, in_child, name_of, refused
from local_opus.values.sandbox import ProbeKind

#: Bits of <linux/sched.h>, <linux/ptrace.h>, <sys/personality.h>, <sched.h>.
_NEW_USER = 0x10000000
_SEIZE = 0x4206
_NO_RANDOM = 0x0040000
_FIFO = 1
#: What refuses a call: a filter, a missing capability, a limit of zero, a kernel without it.
_REFUSALS = {"EPERM", "EACCES", "ENOSYS", "ENOSPC", "EUSERS"}
_FILTER = "SystemCallFilter"


@dataclass(frozen=True)
class _Call:
    """A system call: its number on x86-64 and arguments with which it can do nothing."""

    name: str
    number: int
    arguments: tuple[int, ...]
    directive: str


#: Each fails in the kernel with EFAULT, EINVAL, EBADF or EOPNOTSUPP, root's too (the manual pages).
_CALLS = (
    _Call("mount", 165, (0, 0, 0, 0, 0), f"{_FILTER}=~@mount"),
    _Call("chroot", 161, (0,), f"{_FILTER}=~@privileged"),
    _Call("bpf", 321, (-1, 0, 0), f"{_FILTER}=~@privileged"),
    _Call("perf_event_open", 298, (0, 0, -1, -1, -1), f"{_FILTER}=~@debug"),
    # Without its two magic numbers it is no reboot.
    _Call("reboot", 169, (0, 0, 0, 0), f"{_FILTER}=~@reboot"),
    _Call("swapon", 167, (0, -1), f"{_FILTER}=~@swap"),
    _Call("finit_module", 313, (-1, 0, -1), "ProtectKernelModules=yes"),
    _Call("clock_settime", 227, (12345, 0), "ProtectClock=yes"),
    _Call("sethostname", 170, (0, -1), "ProtectHostname=yes"),
    _Call("ioperm", 173, (0, 0, 0), f"{_FILTER}=~@privileged"),
    # Its action "how large is the kernel's log", which changes and reads nothing.
    _Call("syslog", 103, (10, 0, 0), "ProtectKernelLogs=yes"),
    _Call("keyctl", 250, (-1, 0, 0), f"{_FILTER}=~@keyring"),
    _Call("io_uring_setup", 425, (0, 0), f"{_FILTER}=~io_uring_setup"),
)


def calls() -> Iterator[Try]:
    """Yield the tries."""
    for call in _CALLS:
        yield Try(f"do-{call.name}", ProbeKind.DO, f"{call.name}(2)", call.directive,
                  partial(_make, call))  # fmt: skip
    for name, what, directive, do in (
        ("user-namespace", "a user namespace", "RestrictNamespaces=yes", _new_user),
        ("setuid", "setuid(2) to itself", f"{_FILTER}=~@privileged", _setuid),
        ("ptrace", "tracing another process", f"{_FILTER}=~@debug", _ptrace),
        ("personality", "another personality", "LockPersonality=yes", _personality),
        ("realtime", "realtime scheduling", "RestrictRealtime=yes", _realtime),
        ("set-id-file", "a set-user-ID file", "RestrictSUIDSGID=yes", _set_id),
    ):
        yield Try(f"do-{name}", ProbeKind.DO, what, directive, partial(_done, do))
    # OpenVINO compiles at run time.
    yield Try("do-write-execute", ProbeKind.DO, "memory to write and execute",
              "MemoryDenyWriteExecute=no", _write_execute, expected=True)  # fmt: skip


def _syscall(number: int, *arguments: int) -> int:
    """Make a system call; return its errno, 0: it succeeded."""
    if platform.machine() != "x86_64":
        raise NotImplementedError("the numbers of system calls are those of x86-64")
    ctypes.set_errno(0)
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(one) for one in arguments))
    return ctypes.get_errno() if done == -1 else 0


def _make(call: _Call) -> Tried:
    return _done(lambda: _syscall(call.number, *call.arguments))


def _done(do: Callable[[], int]) -> Tried:
    return _judged(in_child(do))


def _judged(found: Tried) -> Tried:
    """Tell a refusal from the kernel's complaint about arguments: that one means "let through"."""
    if found.allowed is False and found.evidence.partition(":")[0] not in {*_REFUSALS, "SIGSYS"}:
        return allowed(f"{found.evidence}: it reaches the kernel")
    return found


def _new_user() -> int:
    return _syscall(272, _NEW_USER)  # unshare(2)


def _setuid() -> int:
    return _syscall(105, os.getuid())  # no kernel refuses that, so EPERM is a filter's


def _personality() -> int:
    return _syscall(135, _NO_RANDOM)


def _ptrace() -> int:
    """Seize a child made for it, which does nothing, and end it."""
    other = os.fork()
    if other == 0:
        signal.alarm(SECONDS)
        signal.pause()
        os._exit(0)
    try:
        return _syscall(101, _SEIZE, other, 0, 0)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def _realtime() -> int:
    try:
        os.sched_setscheduler(0, _FIFO, os.sched_param(1))
    except OSError as error:
        return error.errno or 1
    return 0


def _set_id() -> int:
    """Set the bit on a file without a name."""
    try:
        descriptor = os.open(
            tempfile.gettempdir(), os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600
        )
        os.fchmod(descriptor, 0o4600)
    except OSError as error:
        return error.errno or 1
    return 0


def _write_execute() -> Tried:
    wanted = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, wanted).close()
    except OSError as error:
        return refused(name_of(error.errno or 0))
    return allowed("a page was mapped, and unmapped")
