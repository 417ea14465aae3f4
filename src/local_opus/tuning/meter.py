"""Measures settings on a bench, in turns with the default, never beyond the time. Pure."""

from __future__ import annotations

from collections.abc import Callable

from local_opus.devices import paired
from local_opus.errors import LocalOpusError
from local_opus.tuning.bench import Bench, Round, Running, Tell
from local_opus.values.tuning import Chosen, Goal, Ratio, Speed, Tried

#: Pairs of rounds in a first look.
LOOK = 3
#: Requests at once where many answers count.
MANY = 8
#: Tokens of a round, and the seconds that a round shall take.
FEWEST_TOKENS, MOST_TOKENS, ROUND_SECONDS = 8, 48, 0.4
#: The share of the processors that other programs may take while a choice is verified. What wins
#: beside them need not win without: with two threads on two cores that others use, one is faster.
OTHERS = 0.25
#: What a setting may take to load: times what the default took, and seconds besides. A hang costs
#: no more.
LOAD_FACTOR, SLACK = 3.0, 5.0
#: The same of a round.
_ROUND_FACTOR = 20
_FIRST_ROUND = 600.0


class OutOfTimeError(LocalOpusError):
    """The search has no time left for this."""

    def __init__(self) -> None:
        super().__init__("the time was up", "Give more with --seconds.")


class BusyError(LocalOpusError):
    """What would be measured now holds for a machine as busy as this."""

    def __init__(self, others: float) -> None:
        super().__init__(
            f"other programs have {others:.0%} of the processors, so what wins now need not win "
            "without them",
            "Tune again when they are done.",
        )


class Meter:
    """One search's time, and the processes that it measures.

    ``seconds`` is the limit for all of it; ``clock`` counts seconds.
    """

    def __init__(
        self, bench: Bench, *, goal: Goal, seconds: float, clock: Callable[[], float], tell: Tell
    ) -> None:
        self.goal = goal
        self.seconds = seconds
        self.load_seconds = self.judge_seconds = 0.0
        #: The share of the processors that others had in the last comparison; None: not known.
        self.others: float | None = None
        self._bench, self._clock, self._tell = bench, clock, tell
        self._begin = clock()
        self._requests = 1 if goal == "latency" else MANY
        self._tokens = FEWEST_TOKENS
        self._rates: list[float] = []
        self._round_seconds = 0.0
        self._default: Running | None = None

    @property
    def noise(self) -> float:
        """The gain that the noise of the default's rounds may show; see ``paired.noise``."""
        return paired.noise(self._rates)

    # Time

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self._begin + self.seconds - self._clock()

    def limit(self, wanted: float) -> float:
        """Return how long one call may take. Raises OutOfTimeError."""
        if self.left <= 0:
            raise OutOfTimeError
        return min(wanted, self.left)

    def say(self, what: str) -> None:
        """Tell what is being done."""
        self._tell(what, self._clock() - self._begin)

    def cost(self, pairs: int, *, loads: int = 1) -> float:
        """Return what so many pairs take, with what is loaded for them and its first round."""
        load = self.load_seconds + 3 * self._round_seconds
        return loads * load + 2 * pairs * self._round_seconds

    def reserve(self, *, judge: bool) -> float:
        """Return the seconds to keep for the last comparison, and to ``judge`` answers."""
        return self.cost(paired.FEWEST, loads=2) + (self.judge_seconds if judge else 0.0)

    def pairs_in(self, seconds: float) -> int:
        """Return how many pairs there is time for, a tenth to spare."""
        return int(seconds / max(2.2 * self._round_seconds, 1e-9))

    # Measuring

    def start(self) -> None:
        """Load the default; find out how many tokens make a round, and how long all takes.

        Raises BusyError where other programs have the machine, and LocalOpusError.
        """
        self.say("load the default")
        begin = self._clock()
        running = self._bench.load(Chosen(), None, timeout=self.limit(self.left))
        self._default = running
        self.load_seconds = self._clock() - begin
        self.say("measure the default")
        for _ in range(2):  # the first of a process also makes what is kept
            one = running.measure(self._requests, FEWEST_TOKENS, timeout=self.limit(self.left))
        spare = ROUND_SECONDS - one.first_seconds
        wanted = int(spare * one.decode / self._requests) if spare > 0 else 0
        self._tokens = max(FEWEST_TOKENS, min(MOST_TOKENS, wanted))
        begin, used = self._clock(), self._use_of(running)
        self._measure(running, self._rates)
        self._round_seconds = self._clock() - begin
        for _ in range(LOOK - 1):
            self._measure(running, self._rates)
        others = _share_of_others(used, self._use_of(running))
        if others is not None and others > OTHERS:
            raise BusyError(others)
        # It loads the model plainly, and reads one text.
        self.judge_seconds = self.load_seconds + 4 * self._round_seconds

    def stop(self) -> None:
        """End the default's process; the next comparison gets a new one."""
        if self._default is not None:
            self._default.close()
            self._default = None

    def stop_if_ended(self) -> None:
        """See whether the default still answers, after something failed."""
        if self._default is None:
            return
        try:
            self._measure(self._default, [])
        except LocalOpusError:
            self.stop()

    def _measure(self, running: Running, rates: list[float]) -> Round:
        wanted = max(SLACK, _ROUND_FACTOR * self._round_seconds)
        limit = self.limit(wanted if self._round_seconds else _FIRST_ROUND)
        one = running.measure(self._requests, self._tokens, timeout=limit)
        rates.append(one.rate(self.goal))
        return one

    def _pairs(
        self, one: Running, other: Running, count: int
    ) -> tuple[list[float], list[float], list[Round]]:
        """Measure two in turns; who is first changes from pair to pair.

        Return the rates of both, and the rounds of the other.
        """
        first: list[float] = []
        second: list[float] = []
        rounds: list[Round] = []
        for number in range(count):
            turns = [(one, first), (other, second)]
            for running, rates in turns if number % 2 else reversed(turns):
                found = self._measure(running, rates)
                if running is other:
                    rounds.append(found)
                else:  # the machine may have become busier
                    self._round_seconds = 0.7 * self._round_seconds + 0.3 * found.seconds
        return first, second, rounds

    def _load(self, chosen: Chosen, how: str | None = None) -> Running:
        limit = self.limit(LOAD_FACTOR * self.load_seconds + SLACK)
        running = self._bench.load(chosen, how, timeout=limit)
        try:
            warm = self.limit(max(SLACK, _ROUND_FACTOR * self._round_seconds))
            running.measure(self._requests, self._tokens, timeout=warm)
        except BaseException:
            running.close()
            raise
        return running

    def refusal(self, chosen: Chosen) -> str | None:
        """Say why the device can't have these settings; None: it can."""
        return self._bench.refusal(chosen, timeout=self.limit(30.0))

    def against_default(self, chosen: Chosen, how: str | None, pairs: int) -> tuple[Ratio, Tried]:
        """Measure settings against the default; return the ratio, and its row's figures."""
        if self._default is None:
            self._default = self._load(Chosen())
        default = self._default
        other = self._load(chosen, how)
        try:
            begin = self._use_of(default, other)
            first, second, rounds = self._pairs(default, other, pairs)
            self.others = _share_of_others(begin, self._use_of(default, other))
        finally:
            other.close()
        self._rates += first
        usual = sorted(rounds, key=lambda one: one.rate(self.goal))[len(rounds) // 2]
        ratio = paired.compare(first, second)
        row = Tried(
            setting="",
            ratio=rounded(ratio),
            default_tokens_per_second=round(sorted(first)[len(first) // 2], 2),
            speed=Speed(
                tokens_per_second=round(usual.rate(self.goal), 2),
                decode_tokens_per_second=round(usual.decode, 2),
                first_token_seconds=round(usual.first_seconds, 4),
                load_seconds=round(other.loaded.seconds, 2),
                peak_bytes=other.loaded.peak_bytes,
            ),
            why="",
        )
        return ratio, row

    def against(self, chosen: Chosen, more: Chosen, pairs: int) -> Ratio:
        """Return how many times as fast ``more`` is as ``chosen``, both in new processes."""
        self.stop()  # there is memory for two
        one = self._load(chosen)
        try:
            other = self._load(more)
            try:
                first, second, _ = self._pairs(one, other, pairs)
            finally:
                other.close()
        finally:
            one.close()
        return paired.compare(first, second)

    def judge(self, chosen: Chosen) -> float | None:
        """Ask the canary; see ``Bench.judge``."""
        self.say("ask the canary")
        begin = self._clock()
        limit = LOAD_FACTOR * self.judge_seconds + 4 * SLACK
        mean = self._bench.judge(chosen, timeout=self.limit(limit))
        self.judge_seconds = max(self.judge_seconds, self._clock() - begin)
        return mean

    def _use_of(self, *ours: Running) -> tuple[float, float, float] | None:
        """Return seconds of the processors: all that were used, those of ours, all there were."""
        machine = self._bench.machine_seconds()
        if machine is None:
            return None
        used, there = machine
        return used, sum(one.processor_seconds() for one in ours), there


def _share_of_others(
    begin: tuple[float, float, float] | None, end: tuple[float, float, float] | None
) -> float | None:
    """Return the share of the processors that others had between two ``_use_of``."""
    if begin is None or end is None or end[2] <= begin[2]:
        return None
    others = (end[0] - begin[0]) - (end[1] - begin[1])
    return max(0.0, others / (end[2] - begin[2]))


def rounded(ratio: Ratio) -> Ratio:
    """Return a ratio as it is kept and shown."""
    rounded = {name: round(getattr(ratio, name), 4) for name in ("median", "low", "high")}
    return ratio.model_copy(update=rounded)
