"""Where tuning stands in a plan, when it is done again, and what it starts anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import install, planner, profiles
from local_opus.catalog import load as load_catalog
from local_opus.facts import gather
from local_opus.interpreter import Interpreter
from local_opus.locations import locate
from local_opus.picking import Served
from local_opus.profiles import Profile
from local_opus.tuning import ordering
from local_opus.values import Device, HostFacts, Plan, Scope
from local_opus.values.tuning import TuningOrder
from machines import MACHINES, machine_host

PROGRAM = planner.ProgramFacts(
    locks={lock: f"{number:064x}" for number, lock in enumerate(planner.LOCKS.values(), 1)},
    program_sha256="f" * 64,
    python=Interpreter("/usr/bin/python3", "3.11"),
)


@pytest.fixture
def facts(tmp_path: Path) -> HostFacts:
    root = tmp_path / "machine"
    root.mkdir()
    return gather(machine_host(root, MACHINES["meteor-lake-155h"]), disk_path="/var/lib")


def profile_of(name: str) -> Profile:
    return profiles.load(name, lambda path: path)


def order(facts: HostFacts, profile: Profile, tmp_path: Path, scope: Scope = Scope.SYSTEM) -> TuningOrder | None:  # fmt: skip
    model = load_catalog().get("smollm2-135m") if profile.server.enabled else None
    places = locate(scope, FakeHost(tmp_path).environ)
    served = Served(model, Device.CPU, "CPU") if model else Served()
    return install._tuning(places, profile, facts, served)


def plan(
    facts: HostFacts, name: str, tmp_path: Path, scope: Scope = Scope.SYSTEM,
    tuning: TuningOrder | None = None, *, is_image: bool = False,
) -> Plan:  # fmt: skip
    profile = profile_of(name)
    model = load_catalog().get("smollm2-135m") if profile.server.enabled else None
    return planner.plan(
        planner.Request(
            profile=profile, model=model, device=Device.CPU if model else None,
            locations=locate(scope, FakeHost(tmp_path).environ), root="/", is_image=is_image, systemd=True,
            program=PROGRAM, templates=install.templates(), port=8000, tuning=tuning,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "enabled"),
    [("military", True), ("local-opus", True), ("hybrid", True), ("external-api", False)],
)
def test_which_profiles_tune(name, enabled):
    tuning = profile_of(name).tuning
    assert tuning.enabled is enabled
    assert (tuning.goal, tuning.seconds) == ("latency", 30)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("seconds = 601", "tuning.seconds: "),
        ("seconds = 0", "tuning.seconds: "),
        ('goal = "speed"', "tuning.goal: "),
        ('enabled = "yes"', "tuning.enabled: "),
        ("second = 3", "tuning.second: "),
    ],
)
def test_nonsense_in_the_profile_is_named(table, words):
    text = f'name = "p"\ndescription = "P"\nextends = "military"\n[tuning]\n{table}\n'
    with pytest.raises(Exception, match=words.replace(".", r"\.")) as caught:
        profiles.load("./p.toml", lambda _path: text)
    assert caught.type.__name__ == "BadInputError"


def test_it_stands_after_the_weights_and_before_the_server(facts, tmp_path):
    wanted = order(facts, profile_of("local-opus"), tmp_path)
    ids = [action.id for action in plan(facts, "local-opus", tmp_path, tuning=wanted).actions]
    assert ids.index("variant") < ids.index("tuning") < ids.index("server")
    assert ids.index("folder:config") < ids.index("tuning")


@pytest.mark.parametrize(
    ("scope", "mode", "group"),
    [(Scope.SYSTEM, 0o640, "local-opus"), (Scope.USER, 0o600, None)],
)
def test_the_service_may_read_what_was_tuned(facts, tmp_path, scope, mode, group):
    wanted = order(facts, profile_of("local-opus"), tmp_path, scope)
    found = plan(facts, "local-opus", tmp_path, scope, wanted)
    (action,) = [one for one in found.actions if one.id == "tuning"]
    assert (action.params["mode"], action.params["group"]) == (mode, group)
    folder = locate(scope, FakeHost(tmp_path).environ).config
    assert action.params["path"] == f"{folder}/tuned.json"


def test_the_military_profile_tunes_the_best_device_on_a_generated_graph(facts, tmp_path):
    wanted = order(facts, profile_of("military"), tmp_path)
    assert wanted is not None
    assert (wanted.model, wanted.folder, wanted.device) == (None, None, "GPU")
    found = plan(facts, "military", tmp_path, tuning=wanted)
    (action,) = [one for one in found.actions if one.id == "tuning"]
    assert "a generated graph" in action.summary
    assert "folder:config" in [one.id for one in found.actions]


def test_what_has_no_openvino_has_nothing_to_tune(facts, tmp_path):
    assert order(facts, profile_of("external-api"), tmp_path) is None


def test_an_image_is_not_tuned(facts, tmp_path):
    wanted = order(facts, profile_of("local-opus"), tmp_path)
    found = plan(facts, "local-opus", tmp_path, tuning=wanted, is_image=True)
    assert "tuning" not in [action.id for action in found.actions]


def server_inputs(found: Plan) -> object:
    return next(one.params["inputs_sha256"] for one in found.actions if one.id == "server")


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"openvino": "2027.0.0"}, True),
        ({"driver": "2"}, True),
        ({"device_name": "Another"}, True),
        ({"goal": "throughput"}, True),
        ({"seconds": 180}, False),
        ({"settings": ()}, False),
    ],
)
def test_a_server_is_started_anew_with_what_is_tuned_anew(facts, tmp_path, change, anew):
    wanted = order(facts, profile_of("local-opus"), tmp_path)
    assert wanted is not None
    first = plan(facts, "local-opus", tmp_path, tuning=wanted)
    second = plan(facts, "local-opus", tmp_path, tuning=wanted.model_copy(update=change))
    assert (server_inputs(first) != server_inputs(second)) is anew


def test_the_version_is_that_of_the_lock(facts, tmp_path, checkout):
    wanted = order(facts, profile_of("local-opus"), tmp_path)
    assert wanted is not None
    assert f"openvino=={wanted.openvino} " in (checkout / "requirements-server.lock").read_text()


def test_the_second_of_two_cards_is_tuned_where_it_is_chosen(facts, tmp_path):
    served = Served(load_catalog().get("smollm2-135m"), Device.GPU, "GPU.1")
    places = locate(Scope.SYSTEM, FakeHost(tmp_path).environ)
    wanted = install._tuning(places, profile_of("local-opus"), facts, served)
    assert wanted is not None
    assert wanted.device == "GPU.1"
    assert wanted.folder == f"{places.models}/smollm2-135m/gpu-q4_1"
    assert {"DYNAMIC_QUANTIZATION_GROUP_SIZE"} <= {k for one in wanted.settings for k in one.properties}  # fmt: skip


def test_the_order_holds_the_models_canary(facts, tmp_path):
    wanted = order(facts, profile_of("local-opus"), tmp_path)
    band = load_catalog().get("smollm2-135m").canary
    assert wanted is not None
    assert band is not None
    assert (wanted.band, wanted.text) == ((band.low, band.high), band.text)


def test_a_driver_is_told_apart(facts):
    assert ordering.driver_of(facts, "CPU") is None
    assert "1738334590" in str(ordering.driver_of(facts, "NPU"))
    software = facts.software.model_copy(update={"packages": {"intel-opencl-icd": "26.05"}})
    newer = facts.model_copy(update={"software": software})
    assert ordering.driver_of(newer, "GPU") == "intel-opencl-icd 26.05"


def test_a_processors_name_is_known_before_openvino_is_there(facts):
    """Else what was noted before would be of another machine as soon as OpenVINO is installed."""
    asked = facts.openvino.model_copy(update={"devices": ()})
    before = facts.model_copy(update={"openvino": asked})
    assert ordering.device_name(before, "CPU") == facts.cpu.model
    assert ordering.device_name(before, "NPU") == "NPU"


def test_plans_without_tuning_are_as_they_were(facts, tmp_path):
    first = plan(facts, "local-opus", tmp_path)
    assert "tuning" not in [action.id for action in first.actions]
