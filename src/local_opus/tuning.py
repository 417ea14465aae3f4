"""The search for settings that are faster than the default, within a time limit.

Each setting runs in a process of its own, in turns with the default's, so that a busy machine slows
both. First all settings get a few pairs of rounds; the better half of those goes on with more, in
new processes; what gains is put together, and the whole is compared with the default once more, in
new processes again: what led to the choice does not confirm it. See ``devices.paired`` for the
statistic, and docs/tuning.md for the whole.

Nothing here touches the machine: ``Bench`` does, and the clock is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from local_opus.devices import paired
from local_opus.errors import LocalOpusError
from local_opus.values.tuning import Chosen, Goal, Judged, Ratio, Setting, Speed, Tried

#: Pairs of rounds in a first look, in a second, and when the choice is verified.
LOOK, SECOND, VERIFY = 3, 6, 12
#: So many go on to the second look at least, if they gain at all.
FEW = 3
#: Requests at once where many answers count.
MANY = 8
#: Tokens of a round, and the seconds that a round shall take.
FEWEST_TOKENS, MOST_TOKENS, ROUND_SECONDS = 8, 48, 0.4
#: Of the answer whose time counts for latency: to a prompt of as many, see runtime.tune.
ANSWER_TOKENS = 128
#: How far from the default's mean log-probability the chosen may lie where no band was measured:
#: the width of the band of SmolLM2-135M on either side.
TOLERANCE = 0.1
#: The share of the processors that other programs may take while a choice is verified. What wins
#: beside them need not win without: with two threads on two cores that others use, one is faster.
OTHERS = 0.25
#: Seconds beside what the default took to load that a setting may take: first of all, that a hang
#: costs no more.
_SLACK = 5.0
_LOAD_FACTOR = 3.0


#: Why there are no figures of what came last.
NOT_TRIED = "not tried: the time was up"
_NOT_BEST = "not among those that gain most"


@dataclass(frozen=True)
class Round:
    """One measured round. Times are seconds; ``after_first``: tokens after the first one."""

    seconds: float
    first_seconds: float
    tokens: int
    after_first: int

    @property
    def decode(self) -> float:
        """Tokens a second after the first; 0 where there was one alone."""
        left = self.seconds - self.first_seconds
        return self.after_first / left if left > 0 else 0.0

    def rate(self, goal: Goal) -> float:
        """Tokens a second of a whole answer of ANSWER_TOKENS, or of all requests together."""
        if goal == "throughput" or not self.decode:
            return self.tokens / max(self.seconds, 1e-9)
        return ANSWER_TOKENS / (self.first_seconds + (ANSWER_TOKENS - 1) / self.decode)


@dataclass(frozen=True)
class Loaded:
    """What loading came to: seconds and bytes."""

    seconds: float
    peak_bytes: int


class Running(Protocol):
    """One setting, loaded in a process of its own."""

    loaded: Loaded

    def measure(self, requests: int, tokens: int, *, timeout: float) -> Round:
        """Run one round. Raises LocalOpusError when the process fails."""
        ...

    def processor_seconds(self) -> float:
        """Return what this process has had of the processors; 0 where that is not told."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


class Bench(Protocol):
    """Where settings are measured. Each call takes ``timeout`` seconds at most."""

    def refusal(self, chosen: Chosen, *, timeout: float) -> str | None:
        """Say why the device can't have these settings; None: it can."""
        ...

    def load(self, chosen: Chosen, how: str | None, *, timeout: float) -> Running:
        """Load with these settings. Raises LocalOpusError."""
        ...

    def judge(self, chosen: Chosen, *, timeout: float) -> float | None:
        """Return the canary text's mean log-probability; None: there is no model to ask."""
        ...

    def machine_seconds(self) -> tuple[float, float] | None:
        """Return what all programs have had of the processors, and what there was; None: hidden."""
        ...


#: Told what is being tried, and the seconds that have passed.
Tell = Callable[[str, float], None]


@dataclass
class Outcome:
    """What a search came to."""

    chosen: Chosen = field(default_factory=Chosen)
    gain: Ratio | None = None
    judged: Judged | None = None
    noise: float | None = None
    tried: list[Tried] = field(default_factory=list)
    problem: str | None = None
    verified: Tried | None = None
    #: The share of the processors that other programs had in the last comparison; None: not known.
    others: float | None = None


class OutOfTimeError(LocalOpusError):
    """The search has no time left for this."""

    def __init__(self) -> None:
        super().__init__("the time was up", "Give more with --seconds.")


class _BusyError(LocalOpusError):
    """What would be measured now holds for a machine as busy as this."""

    def __init__(self, others: float) -> None:
        super().__init__(
            f"other programs have {others:.0%} of the processors, so what wins now need not win "
            "without them",
            "Tune again when they are done.",
        )


@dataclass
class _Candidate:
    setting: Setting
    row: Tried
    pairs: Ratio | None = None
    seconds: float = 0.0

    def note(self, why: str) -> None:
        self.row = self.row.model_copy(update={"why": why})


class Search:
    """One search. ``seconds`` is the limit for all of it; ``clock`` counts seconds."""

    def __init__(
        self,
        bench: Bench,
        *,
        goal: Goal,
        seconds: float,
        clock: Callable[[], float],
        tell: Tell = lambda _what, _seconds: None,
        band: tuple[float, float] | None = None,
    ) -> None:
        self._bench, self._goal, self._band = bench, goal, band
        self._clock, self._tell = clock, tell
        self._begin = clock()
        self._end = self._begin + seconds
        self._requests = 1 if goal == "latency" else MANY
        self._tokens = FEWEST_TOKENS
        self._default_rates: list[float] = []
        self._load_seconds = self._round_seconds = self._judge_seconds = 0.0
        self._default: Running | None = None
        self._default_judged: float | None = None
        self._others: float | None = None

    def run(self, settings: Sequence[Setting]) -> Outcome:
        """Try the settings, the likeliest first; return what was chosen and all that was tried.

        A setting that fails is a row. Where the default itself can't be measured the outcome says
        so. KeyboardInterrupt goes through; no process is left.
        """
        outcome = Outcome()
        try:
            try:
                self._start()
            except _BusyError as error:
                outcome.problem = error.message
                return outcome
            except LocalOpusError as error:
                outcome.problem = f"the default could not be measured: {error.message}"
                return outcome
            found = [self._look(setting) for setting in settings]
            for one in found:  # with the noise of all rounds, not of the first few
                if one.pairs is not None:
                    one.note(self._in_words(one.pairs, one.setting))
            try:
                self._choose(found, outcome)
            except LocalOpusError as error:
                outcome.problem = f"nothing was chosen: {error.message}"
            if found and all(one.pairs is None and one.row.why == NOT_TRIED for one in found):
                outcome.problem = (
                    f"{self._end - self._begin:.0f} s were over before anything could be tried: "
                    f"loading the default took {self._load_seconds:.1f} s"
                )
            outcome.noise = round(paired.noise(self._default_rates), 4)
            outcome.tried = [one.row for one in found]
            return outcome
        finally:
            self._stop_default()

    # Time

    def _left(self) -> float:
        return self._end - self._clock()

    def _limit(self, wanted: float) -> float:
        """Return how long one call may take. Raises OutOfTimeError."""
        left = self._left()
        if left <= 0:
            raise OutOfTimeError
        return min(wanted, left)

    def _say(self, what: str) -> None:
        self._tell(what, self._clock() - self._begin)

    def _cost(self, pairs: int, *, loads: int = 1) -> float:
        """Seconds that so many pairs take, with what is loaded for them and its first round."""
        return loads * (self._load_seconds + 3 * self._round_seconds) + (
            2 * pairs * self._round_seconds
        )

    @property
    def _reserve(self) -> float:
        """Seconds to keep for the last comparison, and for asking the canary."""
        return self._cost(paired.FEWEST, loads=2) + self._judge_seconds

    # Measuring

    def _start(self) -> None:
        """Load the default; find out how many tokens make a round, and how long all takes."""
        self._say("load the default")
        begin = self._clock()
        running = self._bench.load(Chosen(), None, timeout=self._limit(self._left()))
        self._default = running
        self._load_seconds = self._clock() - begin
        self._say("measure the default")
        for _ in range(2):  # the first of a process also makes what is kept
            one = running.measure(self._requests, FEWEST_TOKENS, timeout=self._limit(self._left()))
        spare = ROUND_SECONDS - one.first_seconds
        wanted = int(spare * one.decode / self._requests) if spare > 0 else 0
        self._tokens = max(FEWEST_TOKENS, min(MOST_TOKENS, wanted))
        begin, used = self._clock(), self._use_of(running)
        self._measure(running, self._default_rates)
        self._round_seconds = self._clock() - begin
        for _ in range(LOOK - 1):
            self._measure(running, self._default_rates)
        others = _share_of_others(used, self._use_of(running))
        if others is not None and others > OTHERS:
            raise _BusyError(others)
        # It loads the model plainly, and reads one text.
        self._judge_seconds = self._load_seconds + 4 * self._round_seconds

    def _measure(self, running: Running, rates: list[float]) -> Round:
        limit = self._limit(max(_SLACK, 20 * self._round_seconds) if self._round_seconds else 600.0)
        one = running.measure(self._requests, self._tokens, timeout=limit)
        rates.append(one.rate(self._goal))
        return one

    def _pairs(self, one: Running, other: Running, count: int) -> tuple[Ratio, list[Round]]:
        """Measure two in turns; who is first changes from pair to pair, as the machine does."""
        first: list[float] = []
        second: list[float] = []
        rounds: list[Round] = []
        for number in range(count):
            turns = [(one, first), (other, second)]
            for running, rates in turns if number % 2 else reversed(turns):
                found = self._measure(running, rates)
                if running is other:
                    rounds.append(found)
                else:
                    self._slower_or_not(found)
        if one is self._default:
            self._default_rates += first
        return paired.compare(first, second), rounds

    def _slower_or_not(self, found: Round) -> None:
        """Follow what a round takes: the machine may have become busier."""
        self._round_seconds = 0.7 * self._round_seconds + 0.3 * found.seconds

    def _load(self, chosen: Chosen, how: str | None) -> Running:
        limit = self._limit(_LOAD_FACTOR * self._load_seconds + _SLACK)
        running = self._bench.load(chosen, how, timeout=limit)
        try:
            warm = self._limit(max(_SLACK, 20 * self._round_seconds))
            running.measure(self._requests, self._tokens, timeout=warm)
        except BaseException:
            running.close()
            raise
        return running

    def _need_default(self) -> Running:
        if self._default is None:
            self._default = self._load(Chosen(), None)
        return self._default

    def _stop_default(self) -> None:
        if self._default is not None:
            self._default.close()
            self._default = None

    def _against_default(self, chosen: Chosen, how: str | None, pairs: int) -> tuple[Ratio, Tried]:
        """Measure settings against the default; return the ratio, and its row's figures."""
        default = self._need_default()
        mark = len(self._default_rates)
        other = self._load(chosen, how)
        try:
            begin = self._use_of(default, other)
            ratio, rounds = self._pairs(default, other, pairs)
            self._others = _share_of_others(begin, self._use_of(default, other))
        finally:
            other.close()
        usual = sorted(rounds, key=lambda one: one.rate(self._goal))[len(rounds) // 2]
        rates = sorted(self._default_rates[mark:])
        row = Tried(
            setting="",
            ratio=_rounded(ratio),
            default_tokens_per_second=round(rates[len(rates) // 2], 2),
            speed=Speed(
                tokens_per_second=round(usual.rate(self._goal), 2),
                decode_tokens_per_second=round(usual.decode, 2),
                first_token_seconds=round(usual.first_seconds, 4),
                load_seconds=round(other.loaded.seconds, 2),
                peak_bytes=other.loaded.peak_bytes,
            ),
            why="",
        )
        return ratio, row

    def _use_of(self, *ours: Running) -> tuple[float, float, float] | None:
        """Return seconds of the processors: all that were used, those of ours, all there were."""
        machine = self._bench.machine_seconds()
        if machine is None:
            return None
        used, there = machine
        return used, sum(one.processor_seconds() for one in ours), there

    # The steps

    def _look(self, setting: Setting) -> _Candidate:
        """Measure one setting a little."""
        row = Tried(
            setting=setting.name,
            properties=setting.properties,
            scheduler=setting.scheduler,
            why=NOT_TRIED,
        )
        found = _Candidate(setting, row)
        if self._left() < self._cost(LOOK) + self._reserve:
            return found
        self._say(setting.name)
        self._measure_candidate(found, LOOK)
        return found

    def _measure_candidate(self, found: _Candidate, pairs: int) -> None:
        setting = found.setting
        chosen = _chosen([setting])
        try:
            refusal = self._bench.refusal(chosen, timeout=self._limit(30.0))
            if refusal is not None:
                found.note(f"refused: {refusal}")
                return
            ratio, row = self._against_default(chosen, setting.how, pairs)
        except OutOfTimeError:
            found.note(NOT_TRIED)
            return
        except LocalOpusError as error:
            found.pairs = None
            found.note(f"failed: {error.message}")
            if self._default is not None and not self._alive():
                self._stop_default()
            return
        found.pairs = ratio
        about = {"setting", "properties", "scheduler"}
        known = {name: getattr(found.row, name) for name in about}
        found.row = row.model_copy(update=known)
        found.note(self._in_words(ratio, setting))

    def _alive(self) -> bool:
        """Whether the default still answers, after something failed."""
        try:
            self._measure(self._need_default(), [])
        except LocalOpusError:
            return False
        return True

    def _in_words(self, ratio: Ratio, setting: Setting) -> str:
        if setting.never is not None:
            return f"never chosen: {setting.never}"
        margin = paired.noise(self._default_rates)
        if ratio.median < 1 - margin:
            return "slower"
        if ratio.median > 1 + margin:
            return _NOT_BEST
        return f"no gain above the noise ({margin:.1%})"

    def _choose(self, found: list[_Candidate], outcome: Outcome) -> None:
        """Narrow down, put together, verify."""
        good = self._narrow([one for one in found if one.pairs is not None])
        good = [one for one in good if self._canary_holds(one)]
        together = self._together(good)
        attempts = [together, *([[together[0]]] if len(together) > 1 else [])] if together else []
        for group in attempts:
            if self._verify(group, outcome):
                self._keep(group, good, outcome)
                return

    def _narrow(self, found: list[_Candidate]) -> list[_Candidate]:
        """Measure the better half again in new processes; return what still gains, best first."""
        hopeful = [
            one
            for one in found
            if one.pairs is not None and one.setting.never is None and one.pairs.median > 1
        ]
        hopeful.sort(key=_median, reverse=True)
        half = hopeful[: max(FEW, (len(hopeful) + 1) // 2)]
        good = []
        for one in half:
            if self._left() >= self._cost(SECOND) + self._reserve:
                self._say(f"{one.setting.name}, again")
                self._measure_candidate(one, SECOND)
            if one.pairs is not None and _median(one) > 1 + paired.noise(self._default_rates):
                good.append(one)
        return sorted(good, key=_median, reverse=True)

    def _canary_holds(self, one: _Candidate) -> bool:
        """Ask the canary with a setting that calculates otherwise."""
        if not one.setting.changes_answers:
            return True
        try:
            judged, problem = self._judge(_chosen([one.setting]))
        except LocalOpusError as error:
            judged, problem = None, f"the canary failed: {error.message}"
        if problem is not None:
            one.note(f"not chosen: {problem}")
        return judged is not None

    def _judge(self, chosen: Chosen) -> tuple[Judged | None, str | None]:
        """Return what the canary says, and what speaks against the settings."""
        self._say("ask the canary")
        begin = self._clock()
        limit = _LOAD_FACTOR * self._judge_seconds + 4 * _SLACK
        mean = self._bench.judge(chosen, timeout=self._limit(limit))
        self._judge_seconds = max(self._judge_seconds, self._clock() - begin)
        if mean is None:
            return None, "it changes answers, and there is no model to judge them by"
        if self._band is not None:
            how, (low, high) = "band", self._band
        else:
            if self._default_judged is None:
                self._default_judged = self._bench.judge(Chosen(), timeout=self._limit(limit))
            if self._default_judged is None:
                return None, "it changes answers, and there is no model to judge them by"
            middle = self._default_judged
            how, low, high = "tolerance", middle - TOLERANCE, middle + TOLERANCE
        judged = Judged.model_validate(
            {
                "how": how,
                "mean_log_probability": round(mean, 4),
                "low": round(low, 4),
                "high": round(high, 4),
            }
        )
        if not low <= mean <= high:
            return None, (
                f"the canary's mean log-probability {mean:.3f} lies outside of "
                f"{low:.3f} to {high:.3f}"
            )
        return judged, None

    def _together(self, good: list[_Candidate]) -> list[_Candidate]:
        """Add what gains, best first, to the best, as long as it gains more."""
        if not good:
            return []
        group = [good[0]]
        for one in good[1:]:
            if any(one.setting.group == other.setting.group for other in group):
                one.note(f"not chosen: {group[0].setting.group} is set better otherwise")
                continue
            if self._left() < self._cost(paired.FEWEST, loads=2) + self._reserve:
                one.note("gains alone; there was no time to try it with the others")
                continue
            if self._gains_more(group, one):
                group.append(one)
            else:
                one.note(f"gains alone, and nothing more beside {group[0].setting.name}")
        return group

    def _gains_more(self, group: list[_Candidate], one: _Candidate) -> bool:
        settings = [member.setting for member in group]
        self._say(f"{one.setting.name}, with {settings[0].name}")
        try:
            base = self._load(_chosen(settings), None)
            try:
                more = self._load(_chosen([*settings, one.setting]), None)
                try:
                    ratio, _ = self._pairs(base, more, paired.FEWEST)
                finally:
                    more.close()
            finally:
                base.close()
        except LocalOpusError:
            return False
        return paired.is_better(ratio, 0.0)

    def _verify(self, group: list[_Candidate], outcome: Outcome) -> bool:
        """Compare the choice with the default once more, both in new processes."""
        chosen = _chosen([one.setting for one in group])
        name = " ".join(one.setting.name for one in group)
        asks = any(one.setting.changes_answers for one in group)
        room = self._left() - (self._judge_seconds if asks else 0) - self._cost(0, loads=2)
        pairs = min(VERIFY, int(room / max(2.2 * self._round_seconds, 1e-9)))
        if pairs < paired.FEWEST:
            for one in group:
                one.note("gained at first; there was no time to verify it")
            return False
        self._say(f"verify {name}")
        self._stop_default()
        ratio, row = self._against_default(chosen, None, pairs)
        margin = paired.noise(self._default_rates)
        outcome.others = self._others
        if self._others is not None and self._others > OTHERS:
            outcome.problem = (
                f"other programs had {self._others:.0%} of the processors while "
                f"{name} was verified, so nothing was chosen: tune again when they are done"
            )
            for one in group:
                one.note("gained beside other programs, which proves nothing without them")
            return False
        if not paired.is_better(ratio, margin):
            for one in group:
                one.note(f"gained at first; verified it is no gain above the noise ({margin:.1%})")
            return False
        if asks:
            judged, problem = self._judge(chosen)
            if problem is not None:
                for one in group:
                    one.note(f"not chosen: {problem}")
                return False
            outcome.judged = judged
        outcome.chosen, outcome.gain = chosen, _rounded(ratio)
        outcome.verified = row.model_copy(
            update={"setting": name, "kept": True, "why": "kept", **chosen.model_dump()}
        )
        return True

    @staticmethod
    def _keep(group: list[_Candidate], good: list[_Candidate], outcome: Outcome) -> None:
        gain = outcome.gain
        for one in group:
            alone = len(group) == 1 and gain is not None
            words = f"kept: verified {gain.median:.2f} times" if alone and gain else "kept"
            one.row = one.row.model_copy(update={"kept": True, "why": words})
        for one in good:
            if one not in group and one.row.why == _NOT_BEST:
                one.note(f"not chosen: {group[0].setting.name} gains more")


def _median(one: _Candidate) -> float:
    return one.pairs.median if one.pairs is not None else 0.0


def _chosen(settings: Sequence[Setting]) -> Chosen:
    """Return settings put together."""
    properties = {name: value for one in settings for name, value in one.properties.items()}
    scheduler = {name: value for one in settings for name, value in one.scheduler.items()}
    return Chosen(properties=properties, scheduler=scheduler)


def _share_of_others(
    begin: tuple[float, float, float] | None, end: tuple[float, float, float] | None
) -> float | None:
    """Return the share of the processors that others had between two ``_use_of``."""
    if begin is None or end is None or end[2] <= begin[2]:
        return None
    others = (end[0] - begin[0]) - (end[1] - begin[1])
    return max(0.0, others / (end[2] - begin[2]))


def _rounded(ratio: Ratio) -> Ratio:
    """Return a ratio as it is kept and shown."""
    rounded = {name: round(getattr(ratio, name), 4) for name in ("median", "low", "high")}
    return ratio.model_copy(update=rounded)
