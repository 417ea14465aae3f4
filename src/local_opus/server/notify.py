"""Messages to systemd, sd_notify(3)."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Tell systemd ``lines``, e.g. ``READY=1``; does nothing where it did not ask for it.

    Raises OSError when systemd named a socket that can't be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto("\n".join(lines).encode(), address)


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear from this process, None: never."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(micros) / 2e6 if micros.isdecimal() and int(micros) and mine else None
