"""What the tries of the sandbox probe have in common: how one is made, and what came of it.

No try may do harm where there is no sandbox at all, to root least of all. So nothing is written,
no device is opened that does something when it is, and system calls get arguments that no kernel
accepts, so that a filter's EPERM and the kernel's own EINVAL or EFAULT are told apart.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from local_opus.values.sandbox import Probe, ProbeKind

#: Seconds for a try in a process of its own.
SECONDS = 2
#: The exit code of such a process whose try broke; no errno of Linux is that large.
_BROKE = 255
#: What the thing is not there says: it can be neither allowed nor refused.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.EAFNOSUPPORT}


@dataclass(frozen=True)
class Tried:
    """What came of a try: ``allowed`` None where it can't be told."""

    allowed: bool | None
    evidence: str


@dataclass(frozen=True)
class Try:
    """One thing to try; the fields are those of a Probe."""

    id: str
    kind: ProbeKind
    what: str
    directive: str
    do: Callable[[], Tried]
    #: Most of what is tried is to be refused.
    expected: bool | None = False

    def made(self) -> Probe:
        """Try it. What breaks is told, and keeps no other try from being made."""
        try:
            found = self.do()
        except OSError as error:
            found = by_error(error)
        except Exception as error:  # noqa: BLE001 - as the docstring says
            found = untold(f"the try broke: {type(error).__name__}: {error}")
        return Probe(
            id=self.id,
            kind=self.kind,
            tried=self.what,
            allowed=found.allowed,
            expected=self.expected,
            evidence=found.evidence,
            directive=self.directive,
        )


def allowed(evidence: str) -> Tried:
    """Return that it could be done."""
    return Tried(allowed=True, evidence=evidence)


def refused(evidence: str) -> Tried:
    """Return that it was refused."""
    return Tried(allowed=False, evidence=evidence)


def untold(evidence: str) -> Tried:
    """Return that it can't be told here."""
    return Tried(allowed=None, evidence=evidence)


def name_of(number: int) -> str:
    """Return an errno's name, e.g. EPERM."""
    return errno.errorcode.get(number, f"errno {number}")


def by_error(error: OSError) -> Tried:
    """Return what an error of the kernel says."""
    number = error.errno or 0
    if number in _ABSENT:
        return untold(f"{name_of(number)}: not there")
    return refused(name_of(number))


def in_child(do: Callable[[], int]) -> Tried:
    """Run ``do`` in a process that then ends, so that whatever it changes of itself goes with it.

    ``do`` returns an errno, 0: it was done.
    """
    pid = os.fork()
    if pid == 0:
        code = _BROKE
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            code = do()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == -signal.SIGSYS:
        return refused("SIGSYS: the filter ends the process")
    if code < 0:
        return untold(f"the try ended by {signal.Signals(-code).name}")
    if code == _BROKE:
        return untold("the try broke")
    return allowed("done") if code == 0 else refused(name_of(code))
