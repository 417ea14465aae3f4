"""What each item gains, on a played bench: chosen, no gain, not measured; nothing stays set."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from fakes import FakeHost
from local_opus.errors import WorkerError
from local_opus.locations import locate
from local_opus.machine import live, measuring, setting
from local_opus.machine.ways import BESIDE
from local_opus.tuning import Loaded, Round
from local_opus.values import Scope
from local_opus.values.machine_tuning import ITEMS, Item, MachineOrder
from local_opus.values.tuning import Chosen, TuningOrder
from played_kernel import CPU, THP, host_on, laptop, npu, tree

PLACES = locate(Scope.SYSTEM, {})
GOVERNOR = f"{CPU}/policy0/scaling_governor"
SUBJECT = TuningOrder(
    goal="latency", seconds=60, settings=(), device="CPU", device_name="A CPU", driver=None,
    openvino="1", base={}, model=None,
)  # fmt: skip


@dataclass
class Machine:
    """How fast it is with each thing set; every call takes its time on the clock."""

    host: FakeHost
    gains: dict[str, float] = field(default_factory=dict)
    others: float = 0.0
    now: float = 0.0
    used: float = 0.0
    looked: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(1))
    at_round: Callable[[int], None] = lambda _number: None
    rounds: int = 0

    def monotonic(self) -> float:
        return self.now

    def rate(self, process: dict[str, object]) -> float:
        text = self.host.files.read_text
        is_set = {
            "governor": text(GOVERNOR).strip() == "performance",
            "huge-pages": "[always]" in text(f"{THP}/enabled"),
            "memory-lock": bool(process.get("lock_memory")),
            "scheduling": bool(process.get("nice")),
        }
        rate = 100.0
        for name, on in is_set.items():
            rate *= self.gains.get(name, 1.0) if on else 1.0
        return rate * self.random.gauss(1.0, 0.01)


@dataclass
class Running:
    machine: Machine
    process: dict[str, object]
    loaded: Loaded = field(default_factory=lambda: Loaded(1.0, 10**8))

    def measure(self, requests: int, tokens: int, *, timeout: float) -> Round:
        self.machine.rounds += 1
        self.machine.at_round(self.machine.rounds)
        rate = self.machine.rate(self.process)
        seconds = tokens / rate
        self.machine.now += seconds
        return Round(seconds, seconds / tokens, tokens, tokens - 1)

    def processor_seconds(self) -> float:
        return self.machine.used / 2

    def close(self) -> None:
        pass


def played(machine: Machine) -> type:
    class Workbench:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def load(
            self, chosen: Chosen, how: str | None, *, timeout: float, process: object = None
        ) -> Running:
            machine.now += 1.0
            return Running(machine, dict(process or {}))  # type: ignore[call-overload]

        def machine_seconds(self) -> tuple[float, float]:
            machine.used += (machine.now - machine.looked) * 2 * (0.5 + machine.others)
            machine.looked = machine.now
            return machine.used, machine.now * 2

    return Workbench


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    host = host_on(tmp_path, laptop() | npu() | {"/proc/meminfo": "MemTotal: 9000000 kB\n"})
    made = Machine(host)

    @contextmanager
    def nothing(*_: object):  # type: ignore[no-untyped-def]
        yield None

    monkeypatch.setattr(measuring, "Workbench", played(made))
    monkeypatch.setattr(measuring, "time", made)
    monkeypatch.setattr(measuring.tuner, "subject", nothing)
    monkeypatch.setattr(measuring.tuner, "require_memory", lambda *_: None)
    monkeypatch.setattr(measuring, "_beside", nothing)
    return made


def order(**more: object) -> MachineOrder:
    given = {"items": ITEMS, "scope": "system", "seconds": 60, "subject": SUBJECT, "server": True,
             "systemd": True, **more}  # fmt: skip
    return MachineOrder.model_validate(given)


def items(machine: Machine, wanted: MachineOrder | None = None) -> dict[str, Item]:
    before = tree(Path(machine.host.root))
    found = measuring.measure(machine.host, PLACES, wanted or order())
    assert tree(Path(machine.host.root)) == before
    assert [one.id for one in found.items] == list((wanted or order()).items)
    return {one.id: one for one in found.items}


def test_what_gains_is_chosen_with_its_gain_and_its_way_back(machine):
    machine.gains = {"governor": 1.25, "huge-pages": 1.1}
    found = items(machine)
    assert found["governor"].decision == "chosen"
    assert found["governor"].gain.median == pytest.approx(1.25, abs=0.03)
    assert found["governor"].gain.rounds == 12
    assert {knob.before for knob in found["governor"].knobs} == {
        "powersave\n",
        "balance_performance\n",
    }
    assert found["huge-pages"].decision == "chosen"


def test_what_does_not_gain_is_said_and_not_chosen(machine):
    found = items(machine)
    for id_ in ("governor", "huge-pages", "memory-lock", "scheduling"):
        assert found[id_].decision == "no gain measured", found[id_]
        assert "not surely above the noise of" in found[id_].reason
        assert found[id_].gain is not None


def test_what_harms_is_not_chosen(machine):
    machine.gains = {"huge-pages": 0.8}
    assert items(machine)["huge-pages"].decision == "no gain measured"


def test_a_gain_within_the_noise_is_none(machine):
    machine.gains = {"governor": 1.02}
    assert items(machine)["governor"].decision == "no gain measured"


def test_the_units_own_items_are_directives(machine):
    machine.gains = {"memory-lock": 1.2, "scheduling": 2.5}
    found = items(machine)
    assert found["memory-lock"].unit == {"LimitMEMLOCK": "infinity"}
    assert found["scheduling"].unit == {"Nice": "-5", "CPUWeight": "305"}
    assert found["scheduling"].beside == BESIDE


@pytest.mark.parametrize(
    ("change", "id_", "reason"),
    [
        ({"scope": "user"}, "governor", "needs root"),
        ({"server": False}, "memory-lock", "there is no server"),
        ({"server": False}, "scheduling", "there is no server"),
        ({"server": False}, "npu-turbo", "no model is served"),
        ({"systemd": False}, "scheduling", "no systemd runs here"),
        ({"systemd": False, "server": False}, "governor", "no server whose start could set it"),
        ({}, "npu-clock", "what is measured runs on the CPU"),
        ({}, "npu-turbo", "the model is served on the CPU"),
        ({}, "device-access", "the model is served on the CPU"),
    ],
)  # fmt: skip
def test_what_does_not_arise_says_why(machine, change, id_, reason):
    found = items(machine, order(**change))[id_]
    assert found.decision == "not applicable"
    assert reason in found.reason


@pytest.mark.parametrize("ask", [live.npu_turbo, live.device_access])
def test_a_device_that_chooses_by_itself_is_of_no_kind(machine, ask):
    found = ask(machine.host, PLACES, "AUTO:GPU.1,CPU")
    assert found.decision == "not applicable"
    assert found.reason == "the model is served on AUTO:GPU.1,CPU, which chooses by itself"


def test_who_is_not_root_is_told(machine):
    machine.host.euid = 1000
    assert "needs root" in items(machine)["huge-pages"].reason


def test_without_measuring_nothing_is_set(machine):
    found = measuring.measure(machine.host, PLACES, order(measure=False))
    assert not found.measured
    assert {one.decision for one in found.items} == {"not measured", "not applicable"}
    assert items(machine, order(measure=False))["huge-pages"].decision == "not measured"
    assert machine.rounds == 0


def test_beside_other_programs_nothing_is_measured(machine):
    machine.gains, machine.others = {"governor": 1.3}, 0.4
    found = items(machine)["governor"]
    assert found.decision == "not measured"
    assert "other programs have" in found.reason


@pytest.mark.parametrize("seconds", [1, 2, 5, 10, 20])
def test_time_is_kept(machine, seconds):
    machine.gains = {"governor": 1.3}
    short = order(seconds=seconds, subject=SUBJECT.model_copy(update={"seconds": seconds}))
    found = items(machine, short)
    assert machine.now <= seconds + 3
    assert found["scheduling"].decision == ("not measured" if seconds < 10 else found["scheduling"].decision)  # fmt: skip


def test_a_worker_that_fails_leaves_its_item_unmeasured_and_nothing_set(machine):
    def at_round(number: int) -> None:
        if number == 9:  # the first of the governor's
            raise WorkerError("the worker crashed", "r")

    machine.at_round = at_round
    machine.gains = {"huge-pages": 1.2}
    found = items(machine)
    assert (found["governor"].decision, found["governor"].reason) == ("not measured", "the worker crashed")  # fmt: skip
    assert found["huge-pages"].decision == "chosen"


@pytest.mark.parametrize("at", range(6, 14))
def test_who_sets_a_value_meanwhile_keeps_it(machine, at):
    def at_round(number: int) -> None:
        if number == at:
            path = Path(machine.host.root) / GOVERNOR.lstrip("/")
            path.write_text("schedutil\n")

    machine.at_round = at_round
    found = {one.id: one for one in measuring.measure(machine.host, PLACES, order()).items}
    assert found["governor"].decision == "not measured"
    assert "set to 'schedutil' by someone else" in found["governor"].reason
    assert machine.host.files.read_text(GOVERNOR) == "schedutil\n"


def test_an_interruption_puts_all_back(machine):
    def at_round(number: int) -> None:
        if number == 10:
            raise KeyboardInterrupt

    machine.at_round = at_round
    before = tree(Path(machine.host.root))
    with pytest.raises(KeyboardInterrupt):
        measuring.measure(machine.host, PLACES, order())
    assert tree(Path(machine.host.root)) == before


def test_what_a_kill_left_is_put_back_first(machine):
    before = tree(Path(machine.host.root))
    governor = measuring.ways(machine.host, order())[0][0]
    setting.apply(machine.host, PLACES, governor.knobs, "measuring")
    assert machine.host.files.read_text(GOVERNOR) == "performance\n"
    found = measuring.measure(machine.host, PLACES, order())
    assert tree(Path(machine.host.root)) == before
    assert found.item("governor").knobs[0].before == "powersave\n"
