"""The processes of the played machine, which are folders in its /proc; what servers answer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from local_opus import node_settings
from local_opus.errors import LocalOpusError

if TYPE_CHECKING:
    from played_machine import Machine

PROC = "proc"
#: A group's number; one that this user may give files to.
GROUP_ID = 998 if os.geteuid() == 0 else os.getegid()


def load(machine: Machine, command: str) -> str:
    """Return what a server reads when it starts; LocalOpusError where that is not whole."""
    config = command.partition("--config ")[2].strip(' "')
    return node_settings.read_settings(machine, config).model_dump_json()


class ProcessTable:
    """What runs, and what waits for its parent to let it go."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def begin(self, command: Sequence[str], serves: str | None) -> int:
        """Make a process; ``serves``: what it has loaded, None while it waits."""
        folder = self._machine.below(f"/{PROC}")
        pid = self._machine.counted("processes") + 100
        self._machine.count("processes")
        (folder / str(pid)).mkdir()
        before = " ".join(["0"] * 18)
        (folder / str(pid) / "stat").write_text(f"{pid} (server) S {before} {pid * 7} 0\n")
        status = f"Gid:\t{GROUP_ID}\t{GROUP_ID}\t{GROUP_ID}\t{GROUP_ID}\nGroups:\t{GROUP_ID}\n"
        (folder / str(pid) / "status").write_text(status)
        (folder / str(pid) / "cmdline").write_text("\0".join(command) + "\0")
        if serves is not None:
            (folder / str(pid) / "serves").write_text(serves)
        return pid

    def let_go(self, pid: int) -> None:
        """Let a process begin: it reads its config."""
        folder = self._machine.below(f"/{PROC}/{pid}")
        command = (folder / "cmdline").read_text().replace("\0", " ")
        (folder / "serves").write_text(load(self._machine, command))

    def end(self, pid: int) -> bool:
        """End a process; return whether it was there."""
        folder = self._machine.below(f"/{PROC}/{pid}")
        if not folder.exists():
            return False
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        return True

    def end_waiting(self) -> None:
        """End processes whose parent was killed before it let them go, as their gate does."""
        for folder in self._machine.below(f"/{PROC}").glob("[0-9]*"):
            if not (folder / "serves").exists():
                self.end(int(folder.name))

    def servers(self) -> list[str]:
        """Return what runs, one line a server: its command and what it loaded."""
        return [
            f"{(folder / 'cmdline').read_text()} {(folder / 'serves').read_text()}"
            for folder in sorted(self._machine.below(f"/{PROC}").glob("[0-9]*"))
            if (folder / "serves").exists()
        ]


class PlayedNetwork:
    """Ports of this machine: what is served there is what the played server has loaded."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @staticmethod
    def port_problem(_address: str, _port: int) -> None:
        """Every port is free."""
        return

    def request_json(self, _address: str, port: int, path: str, **_: object) -> tuple[int, Mapping[str, object]]:  # fmt: skip
        """Answer as the server would."""
        if not any(f'"port":{port},' in server for server in self._machine.table.servers()):
            raise LocalOpusError("no answer (connection refused)", "Start it.")
        if path == "/v1/models":
            return 200, {"data": [{"id": "tiny"}]}
        return 200, {"status": "ready", "model": "tiny"}

    @staticmethod
    def stream_events(*_: object, **__: object) -> Iterator[Mapping[str, object]]:
        """Answer a question."""
        for word in ("a", "b"):
            yield {"choices": [{"delta": {"content": word}}]}
        yield {"usage": {"completion_tokens": 2}}
