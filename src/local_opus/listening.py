"""Who listens on a port of this machine, as far as /proc tells (proc_pid_net(5))."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from local_opus.facts import reading
from local_opus.host import Host

#: State of a socket that listens (Linux include/net/tcp_states.h).
_LISTEN = "0A"


@dataclass(frozen=True)
class Holder:
    """A process that listens; ``pid`` None: it is another user's, and /proc hides it."""

    pid: int | None
    command: str

    @property
    def words(self) -> str:
        """The end of a sentence that says so; "" where nothing is known."""
        return f" by {self.command} (PID {self.pid})" if self.pid else self.command


def holder(host: Host, port: int) -> Holder:
    """Return who listens on a port."""
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


def owners(host: Host, port: int) -> set[int]:
    """Return the users whose sockets listen on a port, also where /proc hides others."""
    return {int(fields[7]) for fields in _listeners(host, port, "/proc/self/net")}


def _inodes(host: Host, port: int) -> set[str]:
    return {fields[9] for fields in _listeners(host, port, "/proc/net")}


def _listeners(host: Host, port: int, folder: str) -> Iterator[list[str]]:
    """Yield the fields of each socket that listens on a port; ProcSubset=pid hides /proc/net."""
    for table in (f"{folder}/tcp", f"{folder}/tcp6"):
        try:
            lines = host.files.read_text(table).splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            listens = len(fields) > 9 and fields[3] == _LISTEN  # noqa: PLR2004 - proc_pid_net(5)
            if listens and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields


def _link(host: Host, path: str) -> str:
    try:
        return host.files.read_link(path)
    except OSError:
        return ""
