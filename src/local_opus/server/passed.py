"""The socket that systemd listens on for the server and hands over (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from local_opus.errors import MachineCannotError

#: The first of the descriptors that are passed (sd-daemon.h, SD_LISTEN_FDS_START).
FIRST = 3
_REMEDY = "Have the units restored: `local-opus doctor --fix`."


def passed_socket(environ: Mapping[str, str] = os.environ) -> socket.socket | None:
    """Return the socket that was passed to this process; None where none was.

    Raises MachineCannotError where it is not one TCP socket that listens.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = environ.get("LISTEN_FDS", "")
    if count != "1":
        raise MachineCannotError(f"LISTEN_FDS={count!a}: systemd passes one socket", _REMEDY)
    try:
        found = socket.socket(fileno=FIRST)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise MachineCannotError(
            f"descriptor {FIRST}: {error.strerror or error}, where systemd passes a socket", _REMEDY
        ) from error
    if found.family not in {socket.AF_INET, socket.AF_INET6} or not listens:
        found.detach()
        raise MachineCannotError(
            f"descriptor {FIRST}: not a TCP socket that listens, where systemd passes one", _REMEDY
        )
    found.set_inheritable(False)  # the engine needs no network
    return found
