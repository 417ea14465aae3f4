"""Who listens on a port of this machine, as far as /proc tells (proc_pid_net(5))."""

from __future__ import annotations

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
