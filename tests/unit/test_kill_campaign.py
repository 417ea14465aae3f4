"""The pure parts of bench/kill_campaign.py: what a round does, and what is made of the results."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "bench"))

from campaign import home, plan, results

ROUNDS = [plan.make_round(7, number) for number in range(1, 301)]
STEP = {"command": "old", "manner": "leader", "killed": True, "hit": "begin server"}


def result(number: int, **other: object) -> dict[str, object]:
    return {"round": number, "seed": 1, "commit": "abc", "steps": [STEP], "converged": True,
            "problems": [], "fetched_again": 0, "orphans": 0, "seconds": 9.0} | other  # fmt: skip


def test_a_round_depends_on_seed_and_number_alone():
    assert [plan.make_round(7, number) for number in range(1, 301)] == ROUNDS
    assert [plan.make_round(8, number) for number in range(1, 301)] != ROUNDS


def test_a_round_begins_where_the_one_before_ended():
    assert ROUNDS[0].start == plan.NOTHING
    assert [one.start for one in ROUNDS[1:]] == [one.target for one in ROUNDS[:-1]]


def test_the_last_command_leads_to_the_target():
    assert {plan.version(one.last) or plan.NOTHING for one in ROUNDS} == {"nothing", "old", "new"}
    for one in ROUNDS:
        assert (plan.version(one.last) or plan.NOTHING) == one.target


def test_every_command_and_manner_comes_up():
    steps = [step for one in ROUNDS for step in one.steps]
    commands = {"old", "new", "upgrade old", "upgrade new", "uninstall", "purge"}
    assert {step.command for step in steps} == commands
    assert {step.manner for step in steps} == {"leader", "group", "everything"}
    assert {len(one.steps) for one in ROUNDS} == {1, 2, 3, 4}
    assert all(0 <= step.share < 1 for step in steps)


def test_upgrade_is_asked_only_of_what_is_installed():
    for one in ROUNDS:
        commands = [*(step.command for step in one.steps), one.last]
        for at, command in enumerate(commands):
            if command.startswith("upgrade"):
                assert one.start != plan.NOTHING
                assert not {"uninstall", "purge"} & set(commands[:at])


@pytest.mark.parametrize(
    ("command", "state", "name"),
    [
        ("old", "nothing", "install from nothing"),
        ("old", "new", "install from other"),
        ("upgrade new", "old", "upgrade from other"),
        ("uninstall", "new", "uninstall from new"),
        ("purge", "between", "purge from between"),
    ],
)
def test_names_of_usual_figures(command, state, name):
    assert plan.key(command, state) == name


def test_the_usual_time_is_the_median_of_what_is_known():
    usual = plan.Usual()
    for seconds in (4.0, 90.0, 5.0):
        usual.add("install from nothing", seconds, 40)
    keys = ["install from between", "install from nothing"]
    assert usual.of("seconds", keys, 1.0) == 5.0
    assert usual.of("records", keys, 1.0) == 40.0
    assert usual.of("seconds", ["purge from old"], 1.0) == 1.0


def test_results_add_up_over_a_kill_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "results.jsonl"
    assert results.next_round(results.load(path), 1) == 1
    results.append(path, result(1))
    with path.open("ab") as stream:
        stream.write(b'{"round": 2, "see')
    assert [one["round"] for one in results.load(path)] == [1]
    results.append(path, result(2))
    results.append(path, result(9, seed=2))
    assert [one["round"] for one in results.load(path)] == [1, 2, 9]
    assert results.next_round(results.load(path), 1) == 3


def test_the_summary_adds_up_by_commit():
    late = {**STEP, "killed": False, "hit": ""}
    rows = [result(1), result(2, steps=[STEP, STEP, late]), result(3, commit="def")]
    lines = results.table(rows).splitlines()
    assert lines[1].split() == ["abc", "3", "2", "2", "0", "0", "6.0"]
    assert lines[2].split() == ["def", "1", "1", "1", "0", "0", "9.0"]
    assert lines[3].split() == ["all", "4", "3", "3", "0", "0", "6.8"]
    assert "begin server" in results.table(rows)
    assert results.totals(rows)["too late"] == 1


@pytest.mark.parametrize(
    "wrong", [{"converged": False, "problems": ["exit 1"]}, {"fetched_again": 1}, {"orphans": 1}]
)
def test_one_bad_round_is_enough(wrong):
    assert results.is_clean([result(1), result(2)])
    assert not results.is_clean([result(1), result(2, **wrong)])
    assert not results.is_clean([])


@pytest.fixture
def lived_in(tmp_path):
    return home.Home(tmp_path / "lived in")


def test_a_home_that_was_not_touched_differs_in_nothing(lived_in):
    before = lived_in.make()
    assert len(before) > 8
    assert home.difference(before, lived_in.tree(), times=before) == []


def change(what: str, lived_in: home.Home) -> None:
    path = lived_in.folder / ".config/local-opus/generation.json"
    match what:
        case "content":
            path.write_text("{}\n")
        case "mode":
            path.chmod(0o600)
        case "time":
            path.touch()
        case "gone":
            path.unlink()
        case "new":
            (lived_in.folder / ".local/.local-opus-arriving").mkdir()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("content", "differs: "),
        ("mode", "differs: "),
        ("time", "mtime differs: "),
        ("gone", "missing: "),
        ("new", "left behind: "),
    ],
)
def test_every_change_of_a_home_is_seen(lived_in, what, said):
    before = lived_in.make()
    change(what, lived_in)
    (line,) = home.difference(before, lived_in.tree(), times=before)
    assert line.startswith(said)


def test_what_stays_with_the_weights_is_no_difference(lived_in):
    before = lived_in.make()
    (lived_in.folder / home.STORE / "model").mkdir(parents=True)
    state = lived_in.folder / home.STATE
    state.mkdir(parents=True)
    (state / "receipt.jsonl").touch()
    without = home.WEIGHTS_STAY
    assert home.difference(before, lived_in.tree(), times=before, without=without) == []
    (lived_in.folder / home.PREFIX / "env-0").mkdir()
    lines = home.difference(before, lived_in.tree(), times=before, without=without)
    assert lines == [f"left behind: {home.PREFIX}/env-0"]
