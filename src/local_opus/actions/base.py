"""The contract of an action: one revertible change of the machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Self

from pydantic import JsonValue

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Value

#: Plain data that goes into the receipt.
Record = dict[str, JsonValue]
#: ``progress(step, done, total)``: bytes, or None where the total is not known.
Progress = Callable[[str, int, int | None], None]


#: In an ``after`` that is handed back: the records of what may stand there in its place, unedited,
#: because a revert was killed.
EARLIER = "earlier"


class State(StrEnum):
    """What inspection found where the action would work."""

    ABSENT = "absent"
    PRESENT = "present"
    DIFFERENT = "different"


class Inspection(Value):
    """The state, and the evidence for it in one line."""

    state: State
    evidence: str


class Reverted(Value):
    """What became of a revert; ``kept`` names what was left in place, and why.

    ``later``: not for good. Something of others is in the way, and a later revert may finish.
    ``told``: what the user should know of something of his that stays; all of ours is gone.
    """

    kept: str | None = None
    later: bool = False
    told: str | None = None


class Action(Value, ABC):
    """A change; its fields are its parameters, and all that the receipt needs to revert it.

    The order of calls is inspect, capture, (receipt), execute, (receipt); later revert. ``execute``
    and ``revert`` may be killed anywhere and are then called again, so both work from any state
    that they themselves can leave.
    """

    kind: ClassVar[str]
    #: When it is reverted: those with the same number newest first, the smallest number before all
    #: others. The program itself goes late, so that it can finish what was killed.
    reverted_in: ClassVar[int] = 0

    @abstractmethod
    def summary(self) -> str:
        """Say in one line what the action does."""

    @abstractmethod
    def paths(self) -> tuple[str, ...]:
        """Name every path of its parameters that the action may make or remove.

        One with a ``scope`` may besides touch what ``locate`` names for that, as it is at the time.
        """

    @abstractmethod
    def inspect(self, host: Host) -> Inspection:
        """Look, without changing anything."""

    @abstractmethod
    def capture(self, host: Host) -> Record:
        """Return what is there before: enough to put it back."""

    @abstractmethod
    def execute(self, host: Host, before: Record, progress: Progress) -> Record:
        """Do it; return what was done: enough to recognise a later edit by the user."""

    @abstractmethod
    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:
        """Undo it; ``after`` is None when execute did not come to its end.

        Otherwise it holds what execute returned, and EARLIER.
        """

    def resume(self, host: Host, before: Record) -> None:
        """Start again what ran before; called when a whole run was rolled back.

        At the time of ``revert`` the files that it reads are still those of the failed run.
        """

    def reach(self, host: Host) -> None:
        """Open to this user what it made and he closed to himself, so that it can be looked at.

        Called before anything is changed or taken back, never to look alone.
        """

    def covers(self, earlier: Self) -> bool:  # noqa: ARG002 - most actions mean all their fields
        """Whether what ``earlier`` left, unchanged since, is all that this one wants."""
        return False

    def noted(self, host: Host) -> Record:  # noqa: ARG002 - most note nothing
        """Return what the receipt keeps of something that was there already, as it should be."""
        return {}

    def turn(self) -> tuple[int, int]:
        """Return what puts its revert in order: the smallest first, equal ones newest first."""
        return self.reverted_in, 0

    def held(self, host: Host, before: Record) -> str | None:  # noqa: ARG002 - most are free
        """Say what of others is in the way of a revert for now; None when nothing."""
        return None

    def edited(self, host: Host, after: Record) -> str | None:  # noqa: ARG002 - most actions have nothing to edit
        """Say what the user edited since it was done; None when nothing.

        ``after`` is as for ``revert``: what stood here earlier is nobody's edit.
        """
        return None

    def edited_meanwhile(self, host: Host, *earlier: Record) -> str | None:  # noqa: ARG002
        """Say what the user edited where ``execute`` did not come to its end, or was not needed.

        ``earlier`` is what else can stand there: records of what was found or left before.
        """
        return None


def earlier(after: Record) -> list[Record]:
    """Return the records under EARLIER."""
    found = after.get(EARLIER)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def as_int(value: object) -> int:
    """Return a whole number of a record. Raises LocalOpusError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise LocalOpusError(
            f"receipt: {value!r} is not a whole number", "Restore the receipt from a backup."
        )
    return value
