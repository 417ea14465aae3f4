"""Keep this process's memory from being swapped out: mlockall(2)."""

from __future__ import annotations

import ctypes
import os
import resource

from local_opus.runtime.engine_protocol import MemoryLock

#: linux/mman.h (asm-generic/mman.h): what is mapped now, what will be, and both only as it is
#: touched: a KV cache that is not full yet takes no memory.
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
_KIB = 1024


def lock() -> MemoryLock:
    """Lock what this process has and will have; return what came of it.

    Without an unlimited RLIMIT_MEMLOCK (or CAP_IPC_LOCK) nothing is locked: the kernel then
    refuses every mapping above the limit (ENOMEM), and the first long answer would end the engine.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
        soft = hard
    if soft != resource.RLIM_INFINITY and not _may_ignore_limits():
        return {
            "bytes": 0,
            "error": f"RLIMIT_MEMLOCK is {soft} bytes; locking memory wants LimitMEMLOCK=infinity",
        }
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        return {"bytes": 0, "error": f"mlockall: {os.strerror(ctypes.get_errno())}"}
    return {"bytes": locked_bytes(), "error": None}


def locked_bytes() -> int:
    """Return what is locked and in memory (proc_pid_smaps(5), ``Locked``)."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as rollup:
        for line in rollup:
            if line.startswith("Locked:"):
                return int(line.split()[1]) * _KIB
    return 0


def _may_ignore_limits() -> bool:
    """Whether this process has CAP_IPC_LOCK (linux/capability.h: 14)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> 14 & 1)
    return False
