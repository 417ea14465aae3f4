"""Whether the server's port is free, or held by our own server."""

from __future__ import annotations

from local_opus import node, node_settings, node_units
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
from local_opus.host import Host
from local_opus.listening import holder
from local_opus.locations import SOCKET_UNIT

_DEFAULT = "127.0.0.1"
_DEFAULT_PORT = 8000


def ask(context: Context) -> Answer:
    """Try to bind the port, and ask /proc who holds it."""
    host = context.host
    address, port, whose = _where(context)
    problem = host.network.port_problem(address, port)
    if problem is None:
        return passed(f"port {port} on {address} is free{whose}")
    running = node.serving(host, context.locations)
    held = holder(host, port)
    if node_units.socket_address(host, context.locations) == (address, port) and (
        held.pid in {None, 1} and node_units.listens(host, context.locations)
    ):
        return passed(f"port {port} on {address} is held by systemd for our server ({SOCKET_UNIT})")
    ours = running is not None and (held.pid is None or _is_of(host, held.pid, running.pid))
    if running is not None and ours:
        return passed(f"port {port} on {address} is held by our server (PID {running.pid})")
    evidence = f"port {port} on {address}: {problem}{held.words}{whose}"
    install = f"local-opus install --local-opus --port {node.another_port(port)}"
    if problem == node.DENIED:
        return failed(evidence, advise(f"Install with {node.one_allowed(port)}.", install))
    return failed(
        evidence,
        advise(
            "End the program that holds it, or install with another port.",
            *([f"kill {held.pid}"] if held.pid else [f"sudo ss -ltnp 'sport = :{port}'"]),
            install,
        ),
    )


def _where(context: Context) -> tuple[str, int, str]:
    """Return the configured address and port, the defaults where nothing is installed."""
    host, locations = context.host, context.locations
    try:
        if host.files.stat(locations.server_config) is None:
            return _DEFAULT, _DEFAULT_PORT, " (the default: no server is installed)"
        return (*node_settings.listens(host, locations), "")
    except PermissionError:
        address, port = node_settings.address(host, locations)
        return address, port, ""
    except BadInputError as error:
        raise NotApplicableError("its config can't be read: see the check of it") from error


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
