"""The service manager: systemd of the system or of the user."""

from __future__ import annotations

from local_opus.errors import LocalOpusError
from local_opus.host.files import Files
from local_opus.host.processes import Completed, Processes
from local_opus.values import Scope

_TIMEOUT = 180.0


class Services:
    """Talks to systemd through systemctl."""

    def __init__(self, files: Files, processes: Processes) -> None:
        self._files = files
        self._processes = processes

    def running(self, scope: Scope) -> bool:
        """Tell whether systemd runs and answers in this scope (sd_booted(3), then a question)."""
        if self._files.root != "/" or self._files.stat("/run/systemd/system") is None:
            return False
        if scope is Scope.SYSTEM:
            return True
        try:
            answer = self._call(scope, "show", "--property=Version")
        except LocalOpusError:  # systemctl is missing: then nothing answers
            return False
        return answer.code == 0

    def _call(self, scope: Scope, *words: str) -> Completed:
        user = ["--user"] if scope is Scope.USER else []
        return self._processes.run(
            ["systemctl", *user, "--no-ask-password", *words], timeout=_TIMEOUT
        )

    def do(self, scope: Scope, *words: str) -> None:
        """Run a systemctl verb. Raises LocalOpusError with what systemctl said."""
        done = self._call(scope, *words)
        if done.code != 0:
            unit = words[-1]
            raise LocalOpusError(
                f"systemctl {' '.join(words)}: {done.last_line}",
                f"Look at `journalctl {'--user ' if scope is Scope.USER else ''}-u {unit} -n 50`.",
            )

    def property(self, scope: Scope, unit: str, name: str) -> str:
        """Return one property of a unit, e.g. ActiveState, UnitFileState, MainPID."""
        return self._call(scope, "show", f"--property={name}", "--value", unit).out.strip()
