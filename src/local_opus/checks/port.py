"""Whether the server's port is free, or held by our own server."""

from __future__ import annotations

from dataclasses import dataclass

from local_opus import node, server_config
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
)
from local_opus.checks.context import Context
from local_opus.errors import BadInputError
from local_opus.facts import reading
from local_opus.host import Host

#: State of a socket that listens (Linux include/net/tcp_states.h).
_LISTEN = "0A"
_DEFAULT = "127.0.0.1"
_DEFAULT_PORT = 8000
_LAST_PORT = 65535


@dataclass(frozen=True)
class Holder:
    """A process that listens; ``pid`` None: it is another user's, and /proc hides it."""

    pid: int | None
    command: str


def ask(context: Context) -> Answer:
    """Try to bind the port, and ask /proc who holds it."""
    host = context.host
    address, port, whose = _where(context)
    problem = host.network.port_problem(address, port)
    if problem is None:
        return passed(f"port {port} on {address} is free{whose}")
    running = node.serving(host, context.locations)
    holder = _holder(host, port)
    ours = running is not None and (holder.pid is None or _is_of(host, holder.pid, running.pid))
    if running is not None and ours:
        return passed(f"port {port} on {address} is held by our server (PID {running.pid})")
    who = f" by {holder.command} (PID {holder.pid})" if holder.pid else holder.command
    return failed(
        f"port {port} on {address}: {problem}{who}{whose}",
        advise(
            "End the program that holds it, or install with another port.",
            *([f"kill {holder.pid}"] if holder.pid else [f"sudo ss -ltnp 'sport = :{port}'"]),
            f"local-opus install --local-opus --port {_another(port)}",
        ),
    )


def _another(port: int) -> int:
    return port + 80 if port + 80 <= _LAST_PORT else port - 80


def _where(context: Context) -> tuple[str, int, str]:
    """Return the configured address and port, the defaults where nothing is installed."""
    host, locations = context.host, context.locations
    try:
        if host.files.stat(locations.server_config) is None:
            return _DEFAULT, _DEFAULT_PORT, " (the default: no server is installed)"
        return (*server_config.listens(host.files.read_text, locations.server_config), "")
    except PermissionError:
        address, port = node.address(host, locations)
        return address, port, ""
    except BadInputError as error:
        raise NotApplicableError("its config can't be read: see the check of it") from error


def _holder(host: Host, port: int) -> Holder:
    """Return who listens on a port, as far as /proc tells (proc_pid_net(5))."""
    inodes = _inodes(host, port)
    if not inodes:
        return Holder(None, "")
    wanted = {f"socket:[{inode}]" for inode in inodes}
    hidden = False
    for name in filter(str.isdecimal, reading.names(host, "/proc")):
        try:
            links = host.files.list(f"/proc/{name}/fd")
            if any(_link(host, f"/proc/{name}/fd/{one}") in wanted for one in links):
                return Holder(int(name), reading.word(host, f"/proc/{name}/comm") or "a process")
        except PermissionError:
            hidden = True
        except OSError:  # it has ended
            continue
    return Holder(None, " by a process of another user" if hidden else "")


def _inodes(host: Host, port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = host.files.read_text(table).splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if len(fields) > 9 and fields[3] == _LISTEN:  # noqa: PLR2004 - proc_pid_net(5)
                local = fields[1].rpartition(":")[2]
                if int(local, 16) == port:
                    found.add(fields[9])
    return found


def _link(host: Host, path: str) -> str:
    try:
        return host.files.read_link(path)
    except OSError:
        return ""


def _is_of(host: Host, pid: int, server: int) -> bool:
    """Whether a process is the server or a child of it."""
    seen = 0
    while pid > 1 and seen < 32:  # noqa: PLR2004 - a chain of parents is short
        if pid == server:
            return True
        seen += 1
        try:
            fields = host.files.read_text(f"/proc/{pid}/stat", 1024).rpartition(")")[2].split()
            pid = int(fields[1])
        except (OSError, ValueError, IndexError):
            return False
    return False


CHECK = Check("port", "port", Group.SERVER, ask)
