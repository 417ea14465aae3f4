"""Which Python an install's environment is made from."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from local_opus.errors import MachineCannotError
from local_opus.host import Host
from local_opus.values import Scope

#: Where distributions put theirs; asked for when ours lies in somebody's home.
_SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3", "/usr/bin/python3.13",
                   "/usr/bin/python3.12", "/usr/bin/python3.11")  # fmt: skip
_OLDEST = (3, 11)
_TIMEOUT = 20.0
_OTHERS_ENTER = 0o001


@dataclass(frozen=True)
class Interpreter:
    """``path`` of a Python outside of any environment, and its version as major.minor."""

    path: str
    version: str


def choose(host: Host, scope: Scope) -> Interpreter:
    """Return the Python to use: the one that runs this, where the service can reach it.

    The service of the system scope runs as a user of its own that sees no home folder, so a Python
    in one (pyenv, conda) can't serve it. Raises MachineCannotError when no other is there.
    """
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    if scope is Scope.USER or _others_reach(host, own):
        return Interpreter(own, f"{sys.version_info.major}.{sys.version_info.minor}")
    for path in _SYSTEM_PYTHONS:
        if (version := _version(host, path)) is not None and version >= _OLDEST:
            return Interpreter(path, f"{version[0]}.{version[1]}")
    raise MachineCannotError(
        f"{own}: the service's user can't reach this Python, and /usr/bin has none from 3.11 on",
        "Install the distribution's python3 (3.11 or newer), or use `--scope user`.",
    )


def _others_reach(host: Host, path: str) -> bool:
    folder = path
    while (folder := folder.rpartition("/")[0]) != "":
        found = host.files.stat(folder, follow=True)
        if folder in {"/root", "/home"} or found is None or not found.mode & _OTHERS_ENTER:
            return False
    return True


def _version(host: Host, path: str) -> tuple[int, int] | None:
    if host.files.stat(path, follow=True) is None:
        return None
    ask = "import sys, venv; print(*sys.version_info[:2])"
    done = host.processes.run([path, "-I", "-c", ask], timeout=_TIMEOUT)
    words = done.out.split()
    return (int(words[0]), int(words[1])) if done.code == 0 and len(words) == 2 else None  # noqa: PLR2004
