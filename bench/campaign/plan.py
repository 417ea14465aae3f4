"""What each round does: pure, and the same again for the same seed and round."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NOTHING, OLD, NEW = "nothing", "old", "new"
UNINSTALL, PURGE = "uninstall", "purge"
UPGRADE = "upgrade"
#: After a kill. What is left to do depends most on whether the environment is there.
BETWEEN = "between"
#: How a kill hits: the program alone, its process group, or all that it ever started here (as the
#: end of a container or a power cut does; the server goes too).
MANNERS = ("leader", "leader", "group", "everything")
#: What a moment is a share of: of the seconds that the command takes, or of its receipt's records.
#: By time alone the many short actions would hardly be hit.
MEASURES = ("seconds", "seconds", "records")
#: Seconds after a record within which the kill comes.
AFTER_RECORD = 0.05
_KEPT_RUNS = 15


@dataclass(frozen=True)
class Step:
    """A command that is killed. ``share`` of its usual ``measure`` has passed by then."""

    command: str
    manner: str
    measure: str
    share: float
    #: Seconds after the record, where the measure is records.
    delay: float


@dataclass(frozen=True)
class Round:
    """From the state ``start`` over killed steps to a last command that must reach ``target``."""

    number: int
    start: str
    target: str
    steps: tuple[Step, ...]
    last: str


def target_of(seed: int, number: int) -> str:
    """Return the state that a round ends in and the next begins with, ``nothing`` at first."""
    if number < 1:
        return NOTHING
    return random.Random(f"{seed}/{number}/target").choice((NOTHING, NOTHING, OLD, NEW))


def version(command: str) -> str:
    """Return the version that a command installs; empty for one that takes back."""
    last = command.rpartition(" ")[2]
    return last if last in {OLD, NEW} else ""


def make_round(seed: int, number: int) -> Round:
    """Return the plan of a round; it depends on the seed and the number alone."""
    chance = random.Random(f"{seed}/{number}")
    start, target = target_of(seed, number - 1), target_of(seed, number)
    purges = chance.random() < 0.15  # noqa: PLR2004 - seldom: the weights must come again after it
    goal = (PURGE if purges else UNINSTALL) if target == NOTHING else target
    commands: list[str] = []
    for _ in range(chance.choice((1, 2, 3, 4, 4))):
        state = BETWEEN if commands else start
        commands.append(_command(chance, state, goal, commands))
    steps = tuple(
        Step(
            command,
            chance.choice(MANNERS),
            chance.choice(MEASURES),
            chance.random(),
            chance.random() * AFTER_RECORD,
        )
        for command in _with_upgrades(chance, start, commands)
    )
    last = _with_upgrades(chance, start, [*(step.command for step in steps), goal])[-1]
    # The same command again, where it leads to the same.
    if steps and version(steps[-1].command) == version(goal) != "":
        last = steps[-1].command
    return Round(number, start, target, steps, last)


def _command(chance: random.Random, state: str, goal: str, former: list[str]) -> str:
    """Return a command that has something to do; mostly the one given before, or the goal's."""
    useless = {NOTHING: {UNINSTALL, PURGE}, OLD: {OLD}, NEW: {NEW}}.get(state, set())
    preferred = former[-1] if former else goal
    if preferred not in useless and chance.random() < 0.7:  # noqa: PLR2004 - mostly
        return preferred
    return chance.choice([word for word in (OLD, NEW, UNINSTALL) if word not in useless])


def _with_upgrades(chance: random.Random, start: str, commands: list[str]) -> list[str]:
    """Return the commands, some installs as ``upgrade``: it needs something that is installed."""
    found: list[str] = []
    installed = start in {OLD, NEW}
    for command in commands:
        if command in {UNINSTALL, PURGE}:
            installed = False
        if installed and command in {OLD, NEW}:
            found.append(chance.choice((command, f"{UPGRADE} {command}", f"{UPGRADE} {command}")))
        else:
            found.append(command)
    return found


@dataclass
class Usual:
    """What commands usually take, by what they are and where they start: measured as it goes."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    records: dict[str, list[float]] = field(default_factory=dict)

    def add(self, key: str, seconds: float, records: int) -> None:
        """Take in a run that came to its end."""
        for kept, value in ((self.seconds, seconds), (self.records, float(records))):
            kept[key] = [*kept.get(key, []), value][-_KEPT_RUNS:]

    def of(self, measure: str, keys: Sequence[str], default: float) -> float:
        """Return the median for the first key that was measured."""
        kept: Mapping[str, list[float]] = self.seconds if measure == "seconds" else self.records
        return next((statistics.median(kept[key]) for key in keys if kept.get(key)), default)


def key(command: str, state: str) -> str:
    """Return the name under which a command's usual figures are kept."""
    what = "install" if command in {OLD, NEW} else command.partition(" ")[0]
    other = bool(version(command)) and state in {OLD, NEW} and state != version(command)
    return f"{what} from {'other' if other else state}"
