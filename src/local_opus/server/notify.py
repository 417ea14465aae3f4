"""Messages to systemd, sd_notify(3). Of the standard library: the first goes before all imports."""

from __future__ import annotations

import logging
import os
import socket

#: Seconds by which a start's time limit is pushed on while something gets on, and between two
#: pushes.
EXTENSION, PUSH = 30, 10


def notify(*lines: str) -> bool:
    """Tell systemd ``lines``, e.g. ``READY=1``; return whether it was told.

    Where it did not ask to be told, there is nothing to do, and that is done. It never waits: a
    systemd that is slow to read has a full socket, and who must be heard tries again.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(0)
            sock.sendto("\n".join(lines).encode(), address)
    except BlockingIOError:
        return False
    except OSError as error:
        logging.getLogger(__name__).warning("systemd can't be told: %s", error.strerror or error)
        return False
    return True


def extend(status: str) -> None:
    """Ask for more time, and say what for.

    One that is lost is no harm: the next comes before the time is up.
    """
    notify(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1_000_000}", f"STATUS={status}")


def watchdog_seconds() -> float | None:
    """Return how long systemd waits for a sign of life of this process, None: for ever."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(micros) / 1e6 if micros.isdecimal() and int(micros) and mine else None
