"""The search for settings that are faster than the default; see the package. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from local_opus.devices import paired
from local_opus.errors import LocalOpusError
from local_opus.tuning.bench import Bench, Tell
from local_opus.tuning.meter import LOOK, OTHERS, BusyError, Meter, OutOfTimeError, rounded
from local_opus.values.tuning import Chosen, Goal, Judged, Ratio, Setting, Tried

#: Pairs of rounds in a second look, and when the choice is verified.
SECOND, VERIFY = 6, 12
#: So many go on to the second look at least, if they gain at all.
FEW = 3
#: How far from the default's mean log-probability the chosen may lie where no band was measured:
#: the width of the band of SmolLM2-135M on either side.
TOLERANCE = 0.1
#: Why there are no figures of what came last.
NOT_TRIED = "not tried: the time was up"
_NOT_BEST = "not among those that gain most"
_NO_MODEL = "it changes answers, and there is no model to judge them by"


@dataclass
class Outcome:
    """What a search came to."""

    chosen: Chosen = field(default_factory=Chosen)
    gain: Ratio | None = None
    judged: Judged | None = None
    noise: float | None = None
    tried: list[Tried] = field(default_factory=list)
    #: Why nothing was chosen where that is not for want of a gain.
    problem: str | None = None
    #: The row of the last comparison, where several were chosen together.
    verified: Tried | None = None


@dataclass
class _Candidate:
    setting: Setting
    row: Tried
    pairs: Ratio | None = None

    @property
    def median(self) -> float:
        return self.pairs.median if self.pairs is not None else 0.0

    def note(self, why: str) -> None:
        self.row = self.row.model_copy(update={"why": why})


class Search:
    """One search. ``seconds`` is the limit for all of it; ``clock`` counts seconds.

    ``band``: of the canary's mean log-probability; None: none was measured.
    """

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
        self._meter = Meter(bench, goal=goal, seconds=seconds, clock=clock, tell=tell)
        self._how = "tolerance" if band is None else "band"
        self._range = band

    def run(self, settings: Sequence[Setting]) -> Outcome:
        """Try the settings, the likeliest first; return what was chosen and all that was tried.

        A setting that fails is a row. Where the default itself can't be measured the outcome says
        so. KeyboardInterrupt goes through; no process is left.
        """
        outcome = Outcome()
        try:
            self._meter.start()
            found = [self._look(setting) for setting in settings]
            for one in found:  # with the noise of all rounds, not of the first few
                if one.pairs is not None:
                    one.note(self._in_words(one))
            self._conclude(found, outcome)
        except BusyError as error:
            outcome.problem = error.message
        except LocalOpusError as error:
            outcome.problem = f"the default could not be measured: {error.message}"
        finally:
            self._meter.stop()
        return outcome

    def _conclude(self, found: list[_Candidate], outcome: Outcome) -> None:
        try:
            self._choose(found, outcome)
        except LocalOpusError as error:
            outcome.problem = f"nothing was chosen: {error.message}"
        if found and all(one.row.why == NOT_TRIED for one in found):
            outcome.problem = (
                f"{self._meter.seconds:.0f} s were over before anything could be tried: "
                f"loading the default took {self._meter.load_seconds:.1f} s"
            )
        outcome.noise = round(self._meter.noise, 4)
        outcome.tried = [one.row for one in found]

    def _look(self, setting: Setting) -> _Candidate:
        """Measure one setting a little."""
        row = Tried(
            setting=setting.name,
            properties=setting.properties,
            scheduler=setting.scheduler,
            why=NOT_TRIED,
        )
        found = _Candidate(setting, row)
        if self._has_time(LOOK, [setting]):
            self._meter.say(setting.name)
            self._measure(found, LOOK)
        return found

    def _has_time(self, pairs: int, settings: Iterable[Setting], *, loads: int = 1) -> bool:
        """Whether so many pairs can be measured, and what was chosen of ``settings`` verified."""
        judge = any(one.changes_answers for one in settings)
        meter = self._meter
        return meter.left >= meter.cost(pairs, loads=loads) + meter.reserve(judge=judge)

    def _measure(self, found: _Candidate, pairs: int) -> None:
        setting = found.setting
        chosen = _chosen([setting])
        try:
            refusal = self._meter.refusal(chosen)
            if refusal is not None:
                found.note(f"refused: {refusal}")
                return
            ratio, row = self._meter.against_default(chosen, setting.how, pairs)
        except OutOfTimeError:
            found.note(NOT_TRIED)
            return
        except LocalOpusError as error:
            found.pairs = None
            found.note(f"failed: {error.message}")
            self._meter.stop_if_ended()
            return
        found.pairs = ratio
        about = {"setting", "properties", "scheduler"}
        found.row = row.model_copy(update={name: getattr(found.row, name) for name in about})
        found.note(self._in_words(found))

    def _in_words(self, one: _Candidate) -> str:
        margin = self._meter.noise
        if one.setting.never is not None:
            return f"never chosen: {one.setting.never}"
        if one.median < 1 - margin:
            return "slower"
        if one.median > 1 + margin:
            return _NOT_BEST
        return f"no gain above the noise ({margin:.1%})"

    def _choose(self, found: list[_Candidate], outcome: Outcome) -> None:
        """Narrow down, put together, verify; where the whole fails, the best alone."""
        good = [one for one in self._narrow(found) if self._canary_holds(one)]
        together = self._together(good)
        attempts = [together] if together else []
        if len(together) > 1:
            attempts.append(together[:1])
        for group in attempts:
            if self._verify(group, outcome):
                self._keep(group, good, outcome)
                return

    def _narrow(self, found: list[_Candidate]) -> list[_Candidate]:
        """Measure the better half again in new processes; return what still gains, best first."""
        hopeful = [one for one in found if one.setting.never is None and one.median > 1]
        hopeful.sort(key=lambda one: one.median, reverse=True)
        good: list[_Candidate] = []
        for one in hopeful[: max(FEW, (len(hopeful) + 1) // 2)]:
            if self._has_time(SECOND, [other.setting for other in (*good, one)]):
                self._meter.say(f"{one.setting.name}, again")
                self._measure(one, SECOND)
            if one.median > 1 + self._meter.noise:
                good.append(one)
        return sorted(good, key=lambda one: one.median, reverse=True)

    def _canary_holds(self, one: _Candidate) -> bool:
        """Ask the canary with a setting that calculates otherwise."""
        if not one.setting.changes_answers:
            return True
        try:
            judged = self._judge(_chosen([one.setting]))
        except LocalOpusError as error:
            judged = f"the canary failed: {error.message}"
        if isinstance(judged, str):
            one.note(f"not chosen: {judged}")
        return isinstance(judged, Judged)

    def _judge(self, chosen: Chosen) -> Judged | str:
        """Return what the canary says, or what speaks against the settings."""
        mean = self._meter.judge(chosen)
        if mean is None:
            return _NO_MODEL
        if self._range is None:
            middle = self._meter.judge(Chosen())
            if middle is None:
                return _NO_MODEL
            self._range = (middle - TOLERANCE, middle + TOLERANCE)
        low, high = self._range
        if not low <= mean <= high:
            return (
                f"the canary's mean log-probability {mean:.3f} lies outside of "
                f"{low:.3f} to {high:.3f}"
            )
        return Judged.model_validate(
            {"how": self._how, "mean_log_probability": round(mean, 4), "low": round(low, 4),
             "high": round(high, 4)}
        )  # fmt: skip

    def _together(self, good: list[_Candidate]) -> list[_Candidate]:
        """Add what gains, best first, to the best, as long as it gains more."""
        group = good[:1]
        for one in good[1:]:
            if one.setting.group in {other.setting.group for other in group}:
                one.note(f"not chosen: another of its kind ({one.setting.group}) gains more")
            elif not self._has_time(
                paired.FEWEST, [other.setting for other in (*group, one)], loads=2
            ):
                one.note("gains alone; there was no time to try it with the others")
            elif self._gains_more(group, one):
                group.append(one)
            else:
                one.note(f"gains alone, and nothing more beside {group[0].setting.name}")
        return group

    def _gains_more(self, group: list[_Candidate], one: _Candidate) -> bool:
        settings = [member.setting for member in group]
        self._meter.say(f"{one.setting.name}, with {settings[0].name}")
        before, after = _chosen(settings), _chosen([*settings, one.setting])
        try:
            return paired.is_better(self._meter.against(before, after, paired.FEWEST), 0.0)
        except LocalOpusError:  # together they fail: then not together
            return False

    def _verify(self, group: list[_Candidate], outcome: Outcome) -> bool:
        """Compare the choice with the default once more, both in new processes."""
        meter = self._meter
        chosen = _chosen([one.setting for one in group])
        name = " ".join(one.setting.name for one in group)
        asks = any(one.setting.changes_answers for one in group)
        room = meter.left - (meter.judge_seconds if asks else 0) - meter.cost(0, loads=2)
        pairs = min(VERIFY, meter.pairs_in(room))
        if pairs < paired.FEWEST:
            return _none(group, "gained at first; there was no time to verify it")
        meter.say(f"verify {name}")
        meter.stop()
        ratio, row = meter.against_default(chosen, None, pairs)
        if meter.others is not None and meter.others > OTHERS:
            outcome.problem = (
                f"other programs had {meter.others:.0%} of the processors while {name} was "
                "verified, so nothing was chosen: tune again when they are done"
            )
            return _none(group, "gained beside other programs, which proves nothing without them")
        if not paired.is_better(ratio, meter.noise):
            words = f"verified it is no gain above the noise ({meter.noise:.1%})"
            return _none(group, f"gained at first; {words}")
        if asks:
            judged = self._judge(chosen)
            if isinstance(judged, str):
                return _none(group, f"not chosen: {judged}")
            outcome.judged = judged
        outcome.chosen, outcome.gain, outcome.problem = chosen, rounded(ratio), None
        outcome.verified = row.model_copy(
            update={"setting": name, "kept": True, "why": "kept: verified", **chosen.model_dump()}
        )
        return True

    @staticmethod
    def _keep(group: list[_Candidate], good: list[_Candidate], outcome: Outcome) -> None:
        for one in group:
            one.row = one.row.model_copy(update={"kept": True, "why": "kept, with the others"})
        if len(group) == 1 and outcome.verified is not None:  # one row says it all
            group[0].row, outcome.verified = outcome.verified, None
        for one in good:
            if one not in group and one.row.why == _NOT_BEST:
                one.note(f"not chosen: {group[0].setting.name} gains more")


def _none(group: list[_Candidate], why: str) -> bool:
    """Note why nothing of a group is chosen."""
    for one in group:
        one.note(why)
    return False


def _chosen(settings: Sequence[Setting]) -> Chosen:
    """Return settings put together."""
    properties = {name: value for one in settings for name, value in one.properties.items()}
    scheduler = {name: value for one in settings for name, value in one.scheduler.items()}
    return Chosen(properties=properties, scheduler=scheduler)
