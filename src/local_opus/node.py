"""The running node: a server under systemd, or detached with a PID file and a log."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local_opus import (
    last_good,
    log_rotation,
    node_settings,
    node_units,
    server_log,
)
from local_opus.errors import BadInputError, KeyNeededError, LocalOpusError, MachineCannotError
from local_opus.host import Host
from local_opus.keys import giving
from local_opus.listening import holder
from local_opus.locations import GROUP, SERVER_STATE, TRIAL_UNIT, Locations
from local_opus.machine import service
from local_opus.server.settings import Settings
from local_opus.values import Scope, posture

#: The user that a detached server of the system scope runs as: nobody (Linux's overflow user).
NOBODY = 65534
#: Bytes after which the log is renamed to ``.1`` when the server starts.
LOG_LIMIT = log_rotation.LIMIT
STOP_SECONDS = 15.0
READY_SECONDS = 300.0
_POLL_SECONDS = 0.1
#: The kernel's words for a port that this user may not have (bind(2), EACCES).
DENIED = "permission denied"
#: The first port that needs no rights (ip_unprivileged_port_start in ip-sysctl).
_FIRST_OPEN_PORT = 1024
_LAST_PORT = 65535
#: Bytes of a small file that are read at most.
_LIMIT = 65536


@dataclass(frozen=True)
class Serving:
    """A server process: ``how`` is "systemd" or "detached", ``unit`` that of the former."""

    pid: int
    how: str
    unit: str | None = None


def _start_time(host: Host, pid: int) -> str | None:
    """The start time of a process (proc_pid_stat(5), field 22): a PID alone is used again."""
    try:
        fields = host.files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


def started_at(host: Host, pid: int) -> float | None:
    """Return when a process was started, in seconds since the machine's boot; None: it has ended.

    The kernel counts in hundredths, whatever it is built with (USER_HZ in asm-generic/param.h).
    """
    ticks = _start_time(host, pid)
    return None if ticks is None else int(ticks) / 100


def in_group(host: Host, pid: int, number: int) -> bool:
    """Tell whether a process is in a group (proc_pid_status(5)); one that has ended is not."""
    try:
        lines = host.files.read_text(f"/proc/{pid}/status").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(
        str(number) in line.split()[1:] for line in lines if line.startswith(("Gid:", "Groups:"))
    )


def serving(host: Host, locations: Locations) -> Serving | None:
    """Return the server of this install that runs now, None where none does."""
    if host.is_image:  # a number in there is that of some process of this machine
        return None
    if host.services.running(locations.scope):
        unit = node_units.server_unit(host, locations)
        pid = host.services.property(locations.scope, unit, "MainPID")
        if pid.isdecimal() and pid != "0":
            return Serving(int(pid), "systemd", unit)
    return detached(host, locations)


def detached(host: Host, locations: Locations) -> Serving | None:
    """Return the server of this install that runs without systemd, None where none does."""
    try:
        recorded = json.loads(host.files.read_text(locations.pid_file, 4096))
        pid_number, started = int(recorded["pid"]), str(recorded["started"])
    except (FileNotFoundError, PermissionError):
        return None
    except (ValueError, KeyError, TypeError):
        return None  # a damaged PID file names no process; starting writes it anew
    if _start_time(host, pid_number) != started:
        return None
    return Serving(pid_number, "detached")


def command_of(host: Host, running: Serving) -> list[str]:
    """Return the command line of a server; empty where it has ended since."""
    try:
        words = host.files.read_bytes(f"/proc/{running.pid}/cmdline").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [word.decode() for word in words if word]


def start_detached(host: Host, locations: Locations, command: list[str]) -> Serving:
    """Start ``command`` in the background and record its PID."""
    found = host.files.stat(locations.server_log)
    if found is not None and found.size > LOG_LIMIT:
        host.files.rename(locations.server_log, f"{locations.server_log}.1")
    for folder in (locations.runtime, locations.logs):  # /run is empty after a reboot
        host.files.make_folders(folder)
    user = group = None
    if host.euid == 0 and locations.scope is Scope.SYSTEM:
        user, group = NOBODY, host.accounts.group_id(GROUP) or NOBODY

    keys = giving.hand(host, locations, group)
    given = _posture(host, locations) | _state(host, locations, user, group)
    if keys is not None:
        given["CREDENTIALS_DIRECTORY"] = host.files.real_path(keys)

    def record(pid: int) -> None:
        found = json.dumps({"pid": pid, "started": _start_time(host, pid)})
        host.files.write_atomic(locations.pid_file, found.encode() + b"\n")

    log = host.files.real_path(locations.server_log)
    pid = host.processes.start_detached(
        command, log=log, old_log=f"{log}.1", record=record, user=user, group=group, extra_env=given
    )
    service.start_beside(host, locations)
    return Serving(pid, "detached")


def server_states(locations: Locations) -> tuple[str, ...]:
    """Return the folders that the server may write: those that systemd makes, then its own."""
    detached = f"{locations.runtime}/state"
    if locations.scope is Scope.SYSTEM:
        return f"/var/lib/{SERVER_STATE}", detached
    # systemd before 254 has a user's state folders beside the configs.
    bases = (path.rpartition("/")[0] for path in (locations.state, locations.config))
    return (*(f"{base}/{SERVER_STATE}" for base in bases), detached)


def _state(host: Host, locations: Locations, user: int | None, group: int | None) -> dict[str, str]:
    """Give a detached server a folder to write, as a unit's StateDirectory=; a trial has none."""
    if locations.unit == TRIAL_UNIT:
        return {}
    folder = server_states(locations)[-1]
    if user is not None and host.files.stat(folder) is None:  # else it makes it itself
        host.files.make_folder(folder, mode=0o700, uid=user, gid=group)
    return {last_good.VARIABLE: host.files.real_path(folder)}


def forget_state(host: Host, locations: Locations) -> None:
    """Remove what a detached server, or one of a user, has kept."""
    folder = server_states(locations)[-1]
    if host.files.stat(folder) is not None:
        host.files.discard(f"{folder}/{last_good.NAME}")
        host.files.remove_folder(folder)


def _posture(host: Host, locations: Locations) -> dict[str, str]:
    """Return the variables of the offline posture, which a unit gets from systemd."""
    path = f"{locations.config}/{posture.NAME}"
    try:
        text = host.files.read_text(path, _LIMIT)
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise
    except OSError as error:  # a folder or a FIFO in its place
        raise LocalOpusError(
            f"{path}: {(error.strerror or str(error)).lower()}",
            "Remove it, then run `local-opus doctor --fix`.",
        ) from error
    said = posture.assignments(text)
    return {name: said[name] for name in posture.VARIABLES if name in said}


def stop_detached(host: Host, locations: Locations, running: Serving) -> None:
    """End a detached server: SIGTERM, after STOP_SECONDS SIGKILL; then remove the PID file."""
    started = _start_time(host, running.pid)
    if started is not None:
        host.processes.signal(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while _start_time(host, running.pid) == started:
            if time.monotonic() > deadline:
                host.processes.signal(running.pid, signal.SIGKILL)
                deadline += STOP_SECONDS
            time.sleep(_POLL_SECONDS)
    forget(host, locations)
    service.stop_beside(host, locations)


def stop(host: Host, locations: Locations, running: Serving) -> None:
    """Stop a server, whoever runs it."""
    if running.how == "systemd":
        node_units.stop_server(host, locations)
    else:
        stop_detached(host, locations, running)


def forget(host: Host, locations: Locations) -> None:
    """Remove the PID file where it is there, and what it was given of the keys."""
    host.files.discard(locations.pid_file)
    giving.take_back(host, locations)


def ask_ready(host: Host, address: str, port: int) -> Mapping[str, object] | None:
    """Return what ``/ready`` says when the server is ready, None while it is not.

    Raises KeyNeededError where it wants a key that this user has not, BadInputError for one in the
    environment that is none.
    """
    try:
        status, answer = host.network.request_json(address, port, "/ready", timeout=2)
    except (KeyNeededError, BadInputError):
        raise
    except LocalOpusError:  # nothing listens yet
        return None
    return answer if status == 200 else None  # noqa: PLR2004 - HTTP OK


def wait_ready(
    host: Host,
    locations: Locations,
    where: Settings,
    progress: Callable[[float], None],
    seconds: float = READY_SECONDS,
    *,
    tolerant: bool = False,
) -> Mapping[str, object]:
    """Wait until the server is ready; return what ``/ready`` says.

    Raises LocalOpusError with the server's last words when it ends, and at the time limit; unless
    ``tolerant``, also where it serves its last good settings in place of those of its config.
    """
    begin = time.monotonic()
    while (waited := time.monotonic() - begin) < seconds:
        progress(waited)
        if (answer := ask_ready(host, where.host, where.port)) is not None:
            if not tolerant and (problem := answer.get("config_problem")) is not None:
                raise LocalOpusError(str(problem), server_log.see(host, locations))
            return answer
        if waited > 1 and serving(host, locations) is None:
            why, remedy = server_log.last_words(host, locations)
            raise LocalOpusError(f"the server ended while it started: {why}", remedy)
        time.sleep(_POLL_SECONDS)
    raise LocalOpusError(
        f"the server on port {where.port} was not ready within {seconds:.0f} s",
        server_log.see(host, locations),
    )


def require_free_port(host: Host, locations: Locations, address: str, port: int) -> None:
    """Raise MachineCannotError where another program holds the port."""
    if node_units.listens(host, locations) and node_settings.listens(host, locations)[1] == port:
        return
    running = serving(host, locations)
    if running is not None:
        # Not its whole settings: they want sound weights, which an install may be about to repair.
        try:
            own = node_settings.listens(host, locations)[1]
        except (BadInputError, PermissionError):
            # Its config is gone, damaged or closed, and it still serves: what holds the port is our
            # own server, which the install ends and starts anew.
            return
        if own == port:
            return
    problem = host.network.port_problem(address, port)
    if problem is not None:
        ways = _ways_to_another_port(host, locations, another_port(port))
        if problem == DENIED:
            remedy = f"Choose {one_allowed(port)} {ways}."
        else:
            remedy = f"End the program that holds it, or choose another {ways}."
        raise MachineCannotError(
            f"port {port} on {address}: {problem}{holder(host, port).words}", remedy
        )


def one_allowed(port: int) -> str:
    """Say which port to choose in place of one that this user may not have."""
    return f"a port of {_FIRST_OPEN_PORT} or more" if port < _FIRST_OPEN_PORT else "another port"


def another_port(port: int) -> int:
    """Return another port to propose, one that needs no rights."""
    if port < _FIRST_OPEN_PORT:
        return 8000 + port
    return port + 80 if port + 80 <= _LAST_PORT else port - 80


def _ways_to_another_port(host: Host, locations: Locations, port: int) -> str:
    """Say how to have it: in an installed config, where that says the port, or by an install."""
    path = locations.server_config
    try:
        is_there = host.files.stat(path) is not None
    except PermissionError:  # closed: then only an install can be meant
        is_there = False
    if not is_there:
        return f"with `--port {port}`"
    if node_units.socket_address(host, locations) is not None:
        return f"by an install with `--port {port}`"
    return f'as `"port": {port}` in {path}, or by an install with `--port {port}`'
