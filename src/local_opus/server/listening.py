"""The socket that the server listens on: its own, or the one that systemd passes it."""

from __future__ import annotations

import errno
import os
import socket
from types import TracebackType
from typing import Self

from local_opus.errors import BadInputError, ExitCode, LocalOpusError, MachineCannotError
from local_opus.server.connection import BACKLOG

#: The number of the first file that systemd passes, sd_listen_fds(3).
FIRST = 3
_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_REMEDY = "Have the socket unit listen at one place: one ListenStream= and no other Listen line."


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises MachineCannotError when the address can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # A port whose old connections have not quite ended can be used again.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise BadInputError(
                f"port {port} on {host} is taken by another program",
                "End that program, or set another port in the server's config.",
            ) from error
        raise MachineCannotError(
            f"{host}:{port}: {error.strerror or error}",
            "Set an address of this machine and a port above 1023 in the server's config.",
        ) from error
    return sock


def passed() -> socket.socket | None:
    """Return the listening socket that systemd passed this process; None: it passed none.

    It is not handed on: children get neither the file nor the variables that tell of it. Raises
    BadInputError where there are several, or it is none that a client can connect to.
    """
    told = {name: os.environ.pop(name, "") for name in _VARIABLES}
    if not told["LISTEN_FDS"] or told["LISTEN_PID"] != str(os.getpid()):
        return None
    count = int(told["LISTEN_FDS"]) if told["LISTEN_FDS"].isdecimal() else 0
    names = told["LISTEN_FDNAMES"] or "systemd"
    if count != 1:
        raise BadInputError(
            f"{names}: passes {told['LISTEN_FDS']} sockets, and one is wanted", _REMEDY
        )
    try:
        os.set_inheritable(FIRST, False)  # noqa: FBT003 - it takes no keyword
        sock = socket.socket(fileno=FIRST)
    except OSError as error:
        raise BadInputError(
            f"{names}: what it passes is no socket: {error.strerror}", _REMEDY
        ) from error
    listens = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    known = sock.family in {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}
    if sock.type != socket.SOCK_STREAM or not known or not listens:
        kind = f"{sock.family.name} {sock.type.name}{'' if listens else ' that does not listen'}"
        sock.close()
        raise BadInputError(f"{names}: passes a socket of the wrong kind: {kind}", _REMEDY)
    return sock


def shown(sock: socket.socket) -> str:
    """Return where a socket listens, for the log."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        path = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        return f"unix:{path.replace(chr(0), '@')}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"


def _is_final(error: BaseException | None) -> bool:
    """Tell whether the next start would end the same way, so that systemd makes none."""
    if isinstance(error, LocalOpusError):
        return error.exit_code is not ExitCode.FAILED
    return isinstance(error, PermissionError)


def turn_away(sock: socket.socket) -> None:
    """End the connections that wait at a socket that systemd keeps open.

    Each would have it start the service again, which can't serve, until it gives up.
    """
    waits = sock.getblocking()
    # Of the file that systemd has open too, so it is put back.
    sock.setblocking(False)  # noqa: FBT003 - it takes no keyword
    try:
        while True:
            sock.accept()[0].close()
    except OSError:  # none waits any more
        sock.setblocking(waits)


class Door:
    """Where clients come in: it stays open while one server follows another in this process.

    What systemd passed is all there is then, whatever the settings say. Connections that come while
    no server accepts them wait in the kernel's queue.
    """

    def __init__(self) -> None:
        self._own: socket.socket | None = None
        self._address: tuple[str, int] | None = None
        self.passed = passed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.passed is not None and _is_final(error):
            turn_away(self.passed)
        for sock in (self._own, self.passed):
            if sock is not None:
                sock.close()

    def listener(self, host: str, port: int) -> socket.socket:
        """Return a listening socket for one server to close. Raises as ``bind``."""
        if self.passed is not None:
            return self.passed.dup()
        if self._own is None or self._address != (host, port):
            if self._own is not None:  # first: the same port may be wanted on another address
                self._own.close()
                self._own = None
            self._own, self._address = bind(host, port), (host, port)
        return self._own.dup()
