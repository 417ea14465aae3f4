"""What uses a folder of the store: a server that is set to load it, or a process that has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from local_opus import server_config
from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.locations import Locations, locate
from local_opus.values import Scope


@dataclass(frozen=True)
class Uses:
    """By folder of a variant, who is set to load it; ``problems`` are configs that don't tell."""

    folders: dict[str, str]
    problems: tuple[str, ...]

    def of(self, folder: str) -> str | None:
        """Say who uses ``folder`` or something below it; None: nobody."""
        return next(
            (who for used, who in self.folders.items() if f"{used}/".startswith(f"{folder}/")), None
        )


def configured(host: Host, locations: Locations) -> Uses:
    """Return what the servers of all scopes are set to load: this one's, and the other's too."""
    folders: dict[str, str] = {}
    problems = []
    for places in _installs(host, locations):
        path = places.server_config
        try:
            if host.files.stat(path) is None:
                continue
            folder = server_config.model_folder(host.files.read_text, path).rstrip("/")
        except BadInputError as error:
            problems.append(error.message)
        except PermissionError:
            problems.append(f"{path}: permission denied")
        else:
            own = places.scope is locations.scope
            who = "the installed server" if own else f"the server of the scope {places.scope.value}"
            folders.setdefault(folder, who)
    return Uses(folders, tuple(problems))


def _installs(host: Host, locations: Locations) -> Iterator[Locations]:
    yield locations
    for scope in Scope:
        if scope is not locations.scope:
            try:
                yield locate(scope, host.environ)
            except BadInputError:  # no HOME: then no user's install can be meant
                continue


def running(host: Host, folder: str) -> str | None:
    """Name a process that has a file below ``folder`` in its memory, as engines do; None: none.

    Of other users' processes only root can tell. A server may have read its config before that
    was changed.
    """
    below = f"{host.files.real_path(folder)}/"
    if host.files.stat("/proc") is None:
        return None
    for pid in host.files.list("/proc"):
        if not pid.isdecimal():
            continue
        try:
            maps = host.files.read_text(f"/proc/{pid}/maps")
        except (OSError, ValueError):  # ended since, or another user's
            continue
        if below in maps:
            return f"process {pid}"
    return None
