"""The search on a played bench, with a clock of its own: noise, gains, faults, time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from local_opus.errors import WorkerError
from local_opus.tuning import Loaded, Outcome, Round, Search
from local_opus.values.tuning import Chosen, Goal, Setting

NAMES = [f"P{number}" for number in range(10)]


def setting(name: str, **more: object) -> Setting:
    given = {"group": name, "properties": {name: 1}, **more}
    return Setting.model_validate({"name": name, **given})


SETTINGS = [setting(name) for name in NAMES]


@dataclass
class Bench:
    """Rates by property: 1 is the default's. Every call takes its time on the clock."""

    rates: dict[str, float] = field(default_factory=dict)
    spread: float = 0.02
    #: Two processes of the same setting differ for good by as much.
    luck: float = 0.005
    #: How many rounds something else interrupts.
    outliers: float = 0.0
    load_seconds: float = 2.0
    round_seconds: float = 0.4
    refused: dict[str, str] = field(default_factory=dict)
    failing: dict[str, Exception] = field(default_factory=dict)
    hanging: frozenset[str] = frozenset()
    means: dict[str, float] = field(default_factory=dict)
    judges: bool = True
    others: float = 0.0
    seed: int = 1
    now: float = 0.0
    opened: int = 0
    closed: int = 0
    longest: float = 0.0
    used: float = 0.0
    looked: float = 0.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def spend(self, seconds: float, timeout: float) -> None:
        self.longest = max(self.longest, self.now + timeout)
        if seconds > timeout:
            self.now += timeout
            raise WorkerError("ran over its time limit and was ended", "r")
        self.now += seconds

    def refusal(self, chosen: Chosen, *, timeout: float) -> str | None:
        self.spend(0.05, timeout)
        return next(
            (self.refused[name] for name in chosen.properties if name in self.refused), None
        )

    def load(self, chosen: Chosen, how: str | None, *, timeout: float) -> Process:
        names = [*chosen.properties, *chosen.scheduler]
        self.spend(math.inf if set(names) & self.hanging else self.load_seconds, timeout)
        for name in names or ["default"]:
            if name in self.failing:
                raise self.failing[name]
        rate = math.prod(self.rates.get(name, 1.0) for name in names)
        self.opened += 1
        luck = math.exp(self.random.gauss(0, self.luck))
        return Process(self, rate * luck, is_default=not names)

    def judge(self, chosen: Chosen, *, timeout: float) -> float | None:
        self.spend(self.load_seconds + 1, timeout)
        if not self.judges:
            return None
        return -2.3 + sum(self.means.get(name, 0.0) for name in chosen.properties)

    def machine_seconds(self) -> tuple[float, float] | None:
        """Ours take half; others what they have since they began."""
        self.used += (self.now - self.looked) * 2 * (0.5 + self.others)
        self.looked = self.now
        return self.used, self.now * 2


LOADED = Loaded(2.0, 10**9)


@dataclass
class Process:
    bench: Bench
    rate: float
    is_default: bool
    loaded: Loaded = LOADED

    def measure(self, requests: int, tokens: int, *, timeout: float) -> Round:
        bench = self.bench
        slow = 2.5 if bench.random.random() < bench.outliers else 1.0
        noise = math.exp(bench.random.gauss(0, bench.spread))
        seconds = bench.round_seconds * slow * noise / self.rate
        bench.spend(seconds, timeout)
        first = seconds / 4
        # What it prints each second and what it takes are in proportion to the rate.
        return Round(seconds, first, requests * tokens, requests * tokens - requests)

    def processor_seconds(self) -> float:
        return self.bench.now if self.is_default else 0.0  # half of two, by whoever's turn it is

    def close(self) -> None:
        self.bench.closed += 1


def search(
    bench: Bench,
    settings: list[Setting] | None = None,
    seconds: float = 180,
    goal: Goal = "latency",
    band: tuple[float, float] | None = (-2.45, -2.25),
    tell: Callable[[str, float], None] = lambda _what, _seconds: None,
) -> Outcome:
    found = Search(
        bench, goal=goal, seconds=seconds, clock=lambda: bench.now, band=band, tell=tell
    ).run(SETTINGS if settings is None else settings)
    assert bench.opened == bench.closed, "a process is left"
    assert bench.now <= seconds + 1e-6
    assert bench.longest <= seconds + 1e-6, "a call may take longer than is left"
    return found


def why(outcome: Outcome) -> dict[str, str]:
    return {row.setting: row.why for row in outcome.tried}


def kept(outcome: Outcome) -> list[str]:
    return [row.setting for row in outcome.tried if row.kept]


@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_a_better_setting_is_found(goal):
    found = search(Bench({"P3": 1.3, "P1": 0.7}), goal=goal)
    assert found.chosen == Chosen(properties={"P3": 1})
    assert kept(found) == ["P3"]
    assert found.gain is not None
    assert 1.2 < found.gain.low <= found.gain.median < 1.4
    assert found.gain.rounds >= 6
    assert why(found)["P1"] == "slower"
    assert "no gain above the noise (3.0%)" in why(found).values()
    assert found.problem is None


def test_two_that_gain_are_put_together():
    found = search(Bench({"P3": 1.3, "P5": 1.2}))
    assert found.chosen.properties == {"P3": 1, "P5": 1}
    assert sorted(kept(found)) == ["P3", "P5"]
    assert found.gain is not None
    assert found.gain.median == pytest.approx(1.56, rel=0.1)


def test_of_a_group_one_is_chosen():
    settings = [setting("P3", group="threads"), setting("P5", group="threads")]
    found = search(Bench({"P3": 1.2, "P5": 1.4}), settings)
    assert found.chosen.properties == {"P5": 1}
    assert "not chosen" in why(found)["P3"] or "not among" in why(found)["P3"]


def test_a_setting_that_harms_beside_the_best_is_left_out():
    class Jealous(Bench):
        def load(self, chosen: Chosen, how: str | None, *, timeout: float) -> Process:
            found = super().load(chosen, how, timeout=timeout)
            if len(chosen.properties) > 1:
                found.rate = 0.5
            return found

    found = search(Jealous({"P3": 1.3, "P5": 1.2}))
    assert found.chosen.properties == {"P3": 1}
    assert why(found)["P5"] == "gains alone, and nothing more beside P3"


@pytest.mark.parametrize(("spread", "luck"), [(0.02, 0.005), (0.1, 0.01), (0.3, 0.01)])
def test_equal_settings_are_never_better(spread, luck):
    """Ten settings that change nothing, 200 searches: in fewer than one of twenty one is chosen."""
    wrong = 0
    for seed in range(200):
        found = search(Bench(spread=spread, luck=luck, seed=seed, outliers=0.03))
        wrong += not found.chosen.is_default
    assert wrong / 200 < 0.05


def test_nothing_gains_so_it_ends_early():
    bench = Bench(dict.fromkeys(NAMES, 0.8))
    found = search(bench)
    assert found.chosen.is_default
    assert bench.now < 90
    assert set(why(found).values()) == {"slower"}


@pytest.mark.parametrize("seconds", [1, 3, 10, 20, 30, 60, 180])
@pytest.mark.parametrize("load_seconds", [0.5, 4.0, 40.0])
def test_time_is_never_overrun(seconds, load_seconds):
    """``search`` itself checks the clock, and the limit of each call."""
    found = search(Bench({"P0": 1.5}, load_seconds=load_seconds), seconds=seconds)
    assert found.problem is not None or len(found.tried) == len(SETTINGS)
    if found.problem is not None:
        assert found.chosen.is_default


def test_where_loading_takes_all_the_time_the_result_says_so():
    found = search(Bench(load_seconds=100), seconds=30)
    assert found.problem == (
        "the default could not be measured: ran over its time limit and was ended"
    )
    found = search(Bench(load_seconds=14), seconds=30)
    assert found.problem == (
        "30 s were over before anything could be tried: loading the default took 14.0 s"
    )


def test_with_little_time_the_likeliest_is_tried():
    found = search(Bench({"P0": 1.4}, load_seconds=1.0), seconds=20)
    assert found.chosen.properties == {"P0": 1}
    assert why(found)["P9"] == "not tried: the time was up"


@pytest.mark.parametrize(
    "error",
    [
        WorkerError("tune worker ended without an answer (SIGSEGV)", "r"),
        WorkerError("tune worker: a frame does not hold JSON", "r"),
        WorkerError("tune worker: expect kvcache type bf16, current: f32", "r"),
    ],
)
def test_a_setting_that_fails_is_a_row(error):
    found = search(Bench({"P3": 1.3}, failing={"P1": error}))
    assert why(found)["P1"] == f"failed: {error.message}"
    assert found.chosen.properties == {"P3": 1}


def test_a_setting_that_hangs_costs_a_little_time():
    bench = Bench({"P3": 1.3}, hanging=frozenset({"P1", "P2"}))
    found = search(bench)
    assert "time limit" in why(found)["P1"]
    assert found.chosen.properties == {"P3": 1}


def test_what_the_plugin_refuses_is_not_loaded():
    found = search(Bench({"P3": 9.0}, refused={"P3": "Unsupported property P3 by CPU plugin."}))
    assert why(found)["P3"] == "refused: Unsupported property P3 by CPU plugin."
    assert found.chosen.is_default


def test_where_the_default_fails_the_result_says_so():
    found = search(Bench(failing={"default": WorkerError("no device", "r")}))
    assert found.problem == "the default could not be measured: no device"
    assert found.tried == []


def test_what_is_never_chosen_is_measured():
    found = search(Bench({"P3": 2.0}), [setting("P3", never="seeds"), setting("P4")])
    assert found.chosen.is_default
    assert why(found)["P3"] == "never chosen: seeds"
    assert found.tried[0].ratio is not None


JUDGED = [setting("P3", changes_answers=True), setting("P4")]


def test_the_canary_in_its_band():
    found = search(Bench({"P3": 1.3}), JUDGED)
    assert found.chosen.properties == {"P3": 1}
    assert found.judged is not None
    assert (found.judged.how, found.judged.low) == ("band", -2.45)


@pytest.mark.parametrize("mean", [-0.16, 0.06, -9.0])
def test_the_canary_out_of_its_band_rejects(mean):
    found = search(Bench({"P3": 1.5, "P4": 1.2}, means={"P3": mean}), JUDGED)
    assert found.chosen.properties == {"P4": 1}
    assert "lies outside of -2.450 to -2.250" in why(found)["P3"]


@pytest.mark.parametrize(("mean", "chosen"), [(0.09, True), (-0.09, True), (-0.11, False)])
def test_without_a_band_the_defaults_own_mean_counts(mean, chosen):
    found = search(Bench({"P3": 1.5}, means={"P3": mean}), JUDGED, band=None)
    assert found.chosen.is_default is not chosen
    if chosen:
        assert found.judged is not None
        assert found.judged.how == "tolerance"


def test_two_that_pass_alone_may_fail_together():
    settings = [setting("P3", changes_answers=True), setting("P5", changes_answers=True)]
    bench = Bench({"P3": 1.5, "P5": 1.3}, means={"P3": -0.1, "P5": -0.1})
    found = search(bench, settings)
    assert found.chosen.properties == {"P3": 1}


def test_a_canary_that_crashes_rejects():
    class Crashing(Bench):
        def judge(self, chosen: Chosen, *, timeout: float) -> float | None:
            raise WorkerError("canary worker ended without an answer (SIGSEGV)", "r")

    found = search(Crashing({"P3": 1.5}), JUDGED)
    assert found.chosen.is_default
    assert "the canary failed" in why(found)["P3"]


def test_without_a_model_what_changes_answers_is_not_chosen():
    found = search(Bench({"P3": 1.5}, judges=False), JUDGED)
    assert found.chosen.is_default
    assert "no model to judge them by" in why(found)["P3"]


def test_what_wins_beside_other_programs_is_not_chosen():
    bench = Bench({"P3": 1.5})

    def tell(what: str, _seconds: float) -> None:
        if what.startswith("verify"):
            bench.others = 0.4

    found = search(bench, tell=tell)
    assert found.chosen.is_default
    assert found.problem is not None
    assert "other programs had" in found.problem


def test_beside_other_programs_it_does_not_even_begin():
    bench = Bench({"P3": 1.5}, others=0.4)
    found = search(bench)
    assert bench.now < 10
    assert found.tried == []
    assert found.problem is not None
    assert found.problem.startswith("other programs have 40% of the processors")


def test_where_the_kernel_hides_it_nobody_asks_what_others_take():
    class Hidden(Bench):
        def machine_seconds(self) -> None:
            return None

    assert search(Hidden({"P3": 1.5})).chosen.properties == {"P3": 1}


def test_an_interrupt_leaves_no_process():
    bench = Bench({"P3": 1.3})

    def tell(what: str, _seconds: float) -> None:
        if what == "P4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(bench, tell=tell)
    assert bench.opened == bench.closed


def test_latency_counts_a_whole_answer_however_long_a_round_is():
    short, long = Round(1.0, 0.5, 9, 8), Round(5.0, 0.5, 73, 72)
    assert short.decode == long.decode == 16
    assert short.rate("latency") == pytest.approx(long.rate("latency"))
    assert short.rate("latency") == pytest.approx(128 / (0.5 + 127 / 16))
    assert long.rate("throughput") == pytest.approx(73 / 5)
