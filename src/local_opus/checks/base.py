"""What a check is: one question of ``doctor``, and the answer with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from local_opus.values import CheckState, Fix, Needs

if TYPE_CHECKING:
    from local_opus.checks.context import Context

#: Seconds that a check has unless it says otherwise.
SECONDS = 5.0
#: Seconds of one that waits for the host facts: the query of OpenVINO has a limit of its own.
SECONDS_WITH_FACTS = 30.0


class Group(StrEnum):
    """What a check is about; the report shows them in this order."""

    DEVICES = "Devices"
    MACHINE = "Machine"
    INSTALL = "Install"
    MODEL = "Model"
    SERVER = "Server"


class NotApplicableError(Exception):
    """The question does not arise here; the text says why, in one line."""


@dataclass(frozen=True)
class Answer:
    """What a check found; ``id`` and ``title`` only where one check has several answers."""

    state: CheckState
    evidence: str
    details: tuple[str, ...] = ()
    fix: Fix | None = None
    #: ``doctor --fix`` does it.
    fixable: bool = False
    id: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class Check:
    """One question; ``ask`` raises NotApplicableError where it does not arise.

    ``on_timeout``: the state of a check that did not answer; what can't be known of something that
    a server needs is a failure.
    """

    id: str
    title: str
    group: Group
    ask: Callable[[Context], Answer | Sequence[Answer]]
    seconds: float = SECONDS
    on_timeout: CheckState = CheckState.WARN


def passed(evidence: str, *details: str) -> Answer:
    """Return the answer that all is well."""
    return Answer(CheckState.PASS, evidence, details)


def warned(
    evidence: str, fix: Fix | None = None, *, details: Sequence[str] = (), fixable: bool = False
) -> Answer:
    """Return the answer that it works, and could work better or stop working."""
    return Answer(CheckState.WARN, evidence, tuple(details), fix, fixable)


def failed(
    evidence: str, fix: Fix | None = None, *, details: Sequence[str] = (), fixable: bool = False
) -> Answer:
    """Return the answer that something does not work."""
    return Answer(CheckState.FAIL, evidence, tuple(details), fix, fixable)


def told(lines: Sequence[str], what: str) -> tuple[str, tuple[str, ...]]:
    """Return evidence and details of some findings: one speaks for itself, more are counted."""
    return (lines[0], ()) if len(lines) == 1 else (f"{len(lines)} {what}", tuple(lines))


def advise(text: str, *commands: str, needs: Needs = Needs.NOTHING) -> Fix:
    """Return what to do, with the commands to type."""
    return Fix(text=text, commands=commands, needs=needs)


def by_doctor(text: str) -> Fix:
    """Return the fix of what ``doctor --fix`` does."""
    return Fix(text=text, commands=("local-opus doctor --fix",))


def restored() -> Fix:
    """Return the fix of what the receipt says how to make again."""
    return by_doctor("Have it restored from the receipt.")


def corrected() -> Fix:
    """Return the fix of a config that its user edited: what is there is kept as it is."""
    return by_doctor("Correct the file, or remove it. Once it is gone, it is written anew by:")
