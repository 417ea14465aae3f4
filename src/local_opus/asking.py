"""Whether the systemd that runs a service can be asked about it.

A user's systemd is found by XDG_RUNTIME_DIR, which su, cron and sudo do not set. It runs all the
same, and the service with it.
"""

from __future__ import annotations

from local_opus.errors import SilentSystemdError
from local_opus.host import Host
from local_opus.values import Scope


def require_answer(host: Host, scope: Scope) -> None:
    """Raise SilentSystemdError where a systemd of this user runs and does not answer.

    Where none runs, as after the last login of a user who does not linger, no service does.
    """
    if scope is Scope.SYSTEM or host.is_image or host.services.running(scope):
        return
    folder = f"/run/user/{host.euid}"
    booted = host.files.stat("/run/systemd/system") is not None
    if booted and host.files.stat(f"{folder}/systemd") is not None:
        raise SilentSystemdError(
            f"{folder}: this user's systemd runs, and does not answer here",
            f"Set XDG_RUNTIME_DIR={folder} and run this again, or log in as this user to run it.",
        )
