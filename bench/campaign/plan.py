"""What each round does: pure, and the same again for the same seed and round."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NOTHING, OLD, NEW = "nothing", "old", "new"
UNINSTALL, PURGE = "uninstall", "purge"
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
    """Return the state that a round ends in, and the next begins with; before the first: nothing."""
    if number < 1:
        return NOTHING
    return random.Random(f"{seed}/{number}/target").choice((NOTHING, NOTHING, OLD, NEW))


def make_round(seed: int, number: int) -> Round:
    """Return the plan of a round; it depends on the seed and the number alone."""
    chance = random.Random(f"{seed}/{number}")
    start, target = target_of(seed, number - 1), target_of(seed, number)
    purges = chance.random() < 0.15  # noqa: PLR2004 - seldom: the weights must come again after it
    last = (PURGE if purges else UNINSTALL) if target == NOTHING else target
    steps: list[Step] = []
    state = start
    for _ in range(chance.randint(1, 4)):
        command = _command(chance, state, last, steps[-1].command if steps else None)
        steps.append(
            Step(
                command,
                chance.choice(MANNERS),
                chance.choice(MEASURES),
                chance.random(),
                chance.random() * AFTER_RECORD,
            )
        )
        state = "between"
    return Round(number, start, target, tuple(steps), last)


def _command(chance: random.Random, state: str, last: str, former: str | None) -> str:
    """Return a command that has something to do; mostly the one given before, or given last."""
    useless = {NOTHING: {UNINSTALL, PURGE}, OLD: {OLD}, NEW: {NEW}}.get(state, set())
    preferred = former or last
    if preferred not in useless and chance.random() < 0.7:  # noqa: PLR2004 - mostly
        return preferred
    found = [word for word in (OLD, NEW, UNINSTALL) if word not in useless]
    return chance.choice(found)


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
    what = "install" if command in {OLD, NEW} else command
    where = "other" if what == "install" and state in {OLD, NEW} and state != command else state
    return f"{what} from {where}"
