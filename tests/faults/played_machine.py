"""A machine of files: real files below a root; its programs, its systemd, its server are played.

All that it knows lies on its file system, or in the folder ``beside`` for what a test asks after
(how often something was fetched), so that it goes on after the process that changed it was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from played_programs import PlayedProcesses, Where
from played_servers import GROUP_ID, PlayedNetwork, ProcessTable
from played_systemd import PlayedServices, Units
from points import Child, Points

from fakes import FakeHost
from local_opus.host import Space
from local_opus.host.files import Files
from local_opus.locations import Locations, locate
from local_opus.values import Scope

#: Programs that a full disk refuses: they write something anew.
_FILLS = {
    *("groupadd", "groupdel", "venv", "pip install", "pip download", "convert worker"),
    *("systemctl enable", "systemctl start", "systemctl restart"),
}


class RoomyFiles(Files):
    """Files on a disk with room: what is tested here are refusals, not forecasts."""

    def space(self, path: str) -> Space:
        """Return more than anything needs."""
        return Space(10**12, 10**12, None)


class Machine(FakeHost):
    """The machine below ``root``, which takes itself for a whole one (or, ``image``, does not)."""

    def __init__(
        self, root: Path, beside: Path, points: Points, *, scope: Scope, systemd: bool, image: bool
    ) -> None:
        super().__init__(root)
        self._image = image
        self._beside = beside
        self._roots: list[str] = []
        self._points = points
        self.files = RoomyFiles(str(root))
        self._roots.append(self.files.root)
        self.accounts = type(self.accounts)(self.files)
        self.table = ProcessTable(self)
        self.units = Units(self)
        self.processes = PlayedProcesses(self.environ, self)
        self.services = PlayedServices(self, runs=systemd)  # type: ignore[assignment]
        self.network = PlayedNetwork(self)  # type: ignore[assignment]
        self.euid = 0 if scope is Scope.SYSTEM else 1000
        self.places: Locations = locate(scope, self.environ)
        #: Whether the installed program starts, and whether models pass the canary.
        self.starts = self.thinks = True

    @property
    def is_image(self) -> bool:  # type: ignore[override]
        """Whether it is an image's folder."""
        return self._image

    def move(self, folder: Path) -> None:
        """Go on in a copy of this machine."""
        self._beside = folder / "beside"
        self.files.root = str(folder / "root")
        self._roots.append(self.files.root)

    def at(self, path: str) -> Where:
        """Return where a path seen from outside is, also after a move."""
        inside = next(path.removeprefix(root) for root in self._roots if f"{path}/".startswith(f"{root}/"))  # fmt: skip
        return lambda: Path(self.files.root + inside)

    @property
    def folder(self) -> Path:
        """Return where this machine is now."""
        return self._beside.parent

    def below(self, path: str) -> Path:
        """Return a path of the machine as it is seen from outside."""
        return Path(self.files.root + path)

    def child(self, name: str, steps: Sequence[Callable[[], object]]) -> object:
        """Let a child do its steps; half of them where it is ended half-way."""

        def do(some: Sequence[Callable[[], object]]) -> object:
            last: object = None
            for step in some:
                last = step()
            return last

        return self._points.call(
            name,
            str,
            lambda: do(steps),
            lambda: do(steps[: (len(steps) + 1) // 2]),
            child=Child.FILLS if name in _FILLS else Child.FREES,
        )

    def signal(self, pid: int) -> bool:
        """End a process by a signal, which this user may not be allowed to send."""
        return bool(self._points.call("kill", str, lambda: self.table.end(pid)))

    # -- what is counted ------------------------------------------------------------------------

    def count(self, what: str) -> None:
        """Count something."""
        with (self._beside / what).open("a") as stream:
            stream.write("1")

    def counted(self, what: str) -> int:
        """Return how often."""
        path = self._beside / what
        return path.stat().st_size if path.exists() else 0

    # -- groups ---------------------------------------------------------------------------------

    def set_group(self, name: str, *, there: bool) -> None:
        """Write /etc/group anew."""
        path = self.below("/etc/group")
        lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{name}:")]
        lines += [f"{name}:x:{GROUP_ID}:"] * there
        new = path.with_name("group+")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.chmod(path.stat().st_mode & 0o777)
        new.rename(path)
