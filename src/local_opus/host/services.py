"""The service manager: systemd of the system or of the user."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal

from local_opus.errors import LocalOpusError
from local_opus.host.files import Files
from local_opus.host.processes import Completed, Processes, require_machine
from local_opus.last_words import last_words
from local_opus.values import Scope

_TIMEOUT = 60.0
#: Seconds for a verb that waits for a unit to end; longer than the unit's TimeoutStopSec.
_STOP_TIMEOUT = 120.0
_POLL_SECONDS = 0.2
#: Where systemd could not even start a program; the word after it is that of systemd.exec(5).
_AT_STEP = "Failed at step "
#: systemd's words for a question that the user's rights do not answer.
_NO_RIGHTS = ("interactive authentication required", "access denied", "permission denied")

#: Tells that a unit is still starting: seconds so far, and what the service says of itself.
Waiting = Callable[[float, str], None]


class Services:
    """Talks to systemd through systemctl. On an image every question raises LocalOpusError."""

    def __init__(self, files: Files, processes: Processes) -> None:
        self._files = files
        self._processes = processes

    def running(self, scope: Scope) -> bool:
        """Tell whether systemd runs and answers in this scope (sd_booted(3), then a question)."""
        if self._files.is_image or self._files.stat("/run/systemd/system") is None:
            return False
        if scope is Scope.SYSTEM:
            return True
        try:
            answer = self._call(scope, "show", "--property=Version")
        except LocalOpusError:  # systemctl is missing: then nothing answers
            return False
        return answer.code == 0

    def _call(self, scope: Scope, *words: str, timeout: float = _TIMEOUT) -> Completed:
        require_machine(self._files.root if self._files.is_image else None)
        user = ["--user"] if scope is Scope.USER else []
        return self._processes.run(
            ["systemctl", *user, "--no-ask-password", *words], timeout=timeout
        )

    def do(self, scope: Scope, *words: str) -> None:
        """Run a systemctl verb. Raises LocalOpusError with what systemctl said."""
        done = self._call(scope, *words, timeout=_STOP_TIMEOUT)
        if done.code != 0:
            said = _cause(done)
            remedy = f"Look at `{journalctl(scope, words[-1])} -n 50`."
            if any(hint in said.casefold() for hint in _NO_RIGHTS):
                remedy = "Run it as root, for example with sudo."
            raise LocalOpusError(f"systemctl {' '.join(words)}: {said}", remedy)

    def forget_failure(self, scope: Scope, *units: str) -> None:
        """Have systemd forget that units failed, and how often they were started of late.

        Raises LocalOpusError. Of a unit that is not loaded there is nothing to forget.
        """
        if not units:  # systemctl would take that for all units
            return
        done = self._call(scope, "reset-failed", *units)
        wrong = [line for line in done.err.splitlines() if line and "not loaded" not in line]
        if done.code != 0 and (wrong or not done.err.strip()):
            said = wrong[0] if wrong else done.last_line
            raise LocalOpusError(
                f"systemctl reset-failed {' '.join(units)}: {said}",
                "Run it as root, for example with sudo.",
            )

    def start(
        self, scope: Scope, unit: str, waiting: Waiting, verb: Literal["start", "restart"] = "start"
    ) -> None:
        """Start a unit and wait until it says that it is ready, as long as systemd itself waits.

        Raises LocalOpusError with the error and the remedy that the service wrote into its log.
        """
        self.do(scope, "--no-block", verb, unit)
        begin = time.monotonic()
        while True:
            now = self.properties(
                scope, unit, "ActiveState", "Job", "StatusText", "Result", "InvocationID"
            )
            if now["Job"] in {"", "0"}:  # systemd has done what it was asked to do, or gave up
                break
            waiting(time.monotonic() - begin, now["StatusText"])
            time.sleep(_POLL_SECONDS)
        if now["ActiveState"] != "active":
            message, remedy = self.last_words(scope, unit, now["InvocationID"])
            how = message or f"it ended ({now['Result'] or now['ActiveState']})"
            raise LocalOpusError(
                f"{unit} did not start: {how}",
                remedy or f"Look at `{journalctl(scope, unit)} -n 50`.",
            )

    def last_words(self, scope: Scope, unit: str, invocation: str) -> tuple[str, str]:
        """Return the error and the remedy in the log of one run of a unit; empty: there is none."""
        said = self._log(scope, f"_SYSTEMD_INVOCATION_ID={invocation}" if invocation else unit)
        if said or not invocation:
            return last_words(said, one_run=True)
        # What could not even be started said nothing; systemd says at which step that was.
        manager = "USER_INVOCATION_ID" if scope is Scope.USER else "INVOCATION_ID"
        lines = self._log(scope, f"{manager}={invocation}").splitlines()
        step = next((line for line in lines if _AT_STEP in line), "")
        return step.removeprefix(f"{unit}: "), ""

    def _log(self, scope: Scope, what: str) -> str:
        """Return the last lines of a unit's log, or of those with a FIELD=VALUE."""
        which = [what] if "=" in what else ["--unit", what]
        user = ["--user"] if scope is Scope.USER else []
        done = self._processes.run(
            ["journalctl", *user, "--quiet", "--no-pager", "--output=cat", "--lines=50", *which],
            timeout=_TIMEOUT,
        )
        return done.out

    def properties(self, scope: Scope, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit, e.g. ActiveState, UnitFileState, MainPID; "": not set."""
        return self.properties_of(scope, [unit], *names)[unit]

    def properties_of(
        self, scope: Scope, units: Iterable[str], *names: str
    ) -> dict[str, dict[str, str]]:
        """Return properties of each unit as ``properties`` does, by one question for them all."""
        asked = [*units]
        if not asked:  # systemctl would tell of the manager itself
            return {}
        # A block for each, in their order; one that has none of the properties has its Id. What a
        # service says of itself may hold an empty line: that is asked of one unit alone.
        done = self._call(scope, "show", f"--property={','.join(('Id', *names))}", *asked)
        texts = done.out.strip().split("\n\n") if len(asked) > 1 else [done.out]
        blocks = [_pairs(text) for text in texts]
        blocks += [{}] * (len(asked) - len(blocks))  # nothing answers
        return {
            unit: {name: found.get(name, "") for name in names}
            for unit, found in zip(asked, blocks, strict=True)
        }

    def property(self, scope: Scope, unit: str, name: str) -> str:
        """Return one property of a unit; "" where it is not set."""
        return self.properties(scope, unit, name)[name]


def _pairs(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _cause(done: Completed) -> str:
    """Systemctl says what failed first, and where to read more last."""
    lines = [line.strip() for line in done.err.splitlines() if line.strip()]
    causes = [line for line in lines if not line.startswith("See ")]
    return causes[0] if causes else done.last_line


def journalctl(scope: Scope, unit: str) -> str:
    """Return the command that shows what a unit printed."""
    return f"journalctl {'--user ' if scope is Scope.USER else ''}-u {unit}"
