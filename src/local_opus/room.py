"""Whether the disk has room for the environment of an install: asked before anything changes.

What is there already takes none: a repair works on a full disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from local_opus import planner
from local_opus.actions import build
from local_opus.actions.create_environment import CreateEnvironment
from local_opus.errors import MachineCannotError
from local_opus.facts import disk
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.profiles import Profile
from local_opus.units import size_text


@dataclass(frozen=True)
class Coming:
    """The bytes that an environment still takes, the folder that it comes into, and its disk."""

    folder: str
    need: int
    free: int
    with_store: bool

    @property
    def on_disk_of_store(self) -> int:
        """The bytes that it takes of the disk that the weights come to."""
        return self.need if self.with_store else 0

    def require(self) -> None:
        """Raise MachineCannotError where its disk has no room."""
        lacking = self.need - self.free
        if lacking > 0:
            raise MachineCannotError(
                f"{self.folder}: the environment needs {size_text(self.need)} disk,"
                f" {size_text(self.free)} free",
                f"Free {size_text(lacking)} ({lacking:,} bytes) on the disk of {self.folder},"
                " and run this again.",
            )


def of_environment(
    host: Host, locations: Locations, profile: Profile, program: planner.ProgramFacts
) -> Coming:
    """Return what the planned environment takes. Raises MachineCannotError as the facts do."""
    planned = planner.environment_action(profile, locations, program)
    action = build(planned.kind, planned.params)
    need = action.room(host) if isinstance(action, CreateEnvironment) else 0
    own, store = (disk.read(host, path).space for path in (locations.prefix, locations.models))
    return Coming(locations.prefix, need, own.free, own.device == store.device)
