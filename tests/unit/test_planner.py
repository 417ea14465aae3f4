"""The plan of every profile on every recorded machine, against tests/golden.

    REGENERATE_GOLDEN=1 tests/run tests/unit/test_planner.py

writes tests/golden anew; read the difference before you commit it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import install, picking, planner, profiles
from local_opus.actions import build
from local_opus.catalog import load as load_catalog
from local_opus.errors import MachineCannotError
from local_opus.facts import gather
from local_opus.interpreter import Interpreter
from local_opus.locations import locate
from local_opus.profiles import Profile
from local_opus.values import Device, DiskFacts, HostFacts, Plan, Scope
from local_opus.values.user_manager import FILTERS, PRIVILEGED, UserManager
from machines import MACHINES, machine_host

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
RENDERED = GOLDEN / "rendered"
REGENERATE = bool(os.environ.get("REGENERATE_GOLDEN"))
DISK = DiskFacts(path="/var", total=10**12, free=5 * 10**11, free_inodes=None)
PROGRAM = planner.ProgramFacts(
    locks={lock: f"{number:064x}" for number, lock in enumerate(planner.LOCKS.values(), 1)},
    program_sha256="f" * 64,
    python=Interpreter("/usr/bin/python3", "3.11"),
)
#: Scope, and whether systemd runs. All machines have a system with systemd; one has the others.
SYSTEM = (Scope.SYSTEM, True)
OTHERS = {"system-no-systemd": (Scope.SYSTEM, False), "user": (Scope.USER, True),
          "user-no-systemd": (Scope.USER, False)}  # fmt: skip
#: More machines add nothing that these do not try, and each takes a while.
PLANNED = (
    *("amd-epyc-7c13-two-arc-docker", "amd-epyc-no-intel", "amd-ryzen-6800h"),
    *("arrow-lake-270k-rtx5090", "arrow-lake-275hx-npu-missing", "arrow-lake-nixos-npu"),
    *("core-ultra-5-225-arc-b580", "dual-arc-b60-a770", "i9-13900hk-iris-xe-a770"),
    *("lunar-lake-256v", "meteor-lake-155h", "panther-lake-x7-358h", "xeon-amx-two-sockets"),
)
CASES = [(profile, machine, "") for profile in profiles.names() for machine in PLANNED]
CASES += [("local-opus", "xeon-amx-two-sockets", variant) for variant in OTHERS]


def profile_of(name: str) -> Profile:
    return profiles.load(name, lambda path: path)


@pytest.fixture(scope="session")
def facts_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], HostFacts]:
    found: dict[str, HostFacts] = {}

    def read(machine: str) -> HostFacts:
        if machine not in found:
            root = tmp_path_factory.mktemp("machine")
            facts = gather(machine_host(root, MACHINES[machine]), disk_path="/var/lib")
            found[machine] = facts.model_copy(update={"disk": DISK})
        return found[machine]

    return read


#: What systemd 252 was seen to enforce in a container, where a user namespace is allowed (measured).
MANAGER = UserManager(
    version="252.39-1~deb12u2", sandboxed=True,
    enforced=tuple(name for name in (*FILTERS, *PRIVILEGED) if name not in (
        "ProtectKernelLogs", "ProtectProc", "IPAddressDeny", "DevicePolicy", "TasksMax")),
)  # fmt: skip


def request(profile: Profile, facts: HostFacts, root: Path, scope: Scope, *, systemd: bool,
            model_id: str | None = None) -> planner.Request:  # fmt: skip
    """Choose as an install does, on an empty store."""
    root.mkdir(exist_ok=True)
    host = FakeHost(root)
    places = locate(scope, host.environ)
    served = picking.pick_model(host, places, profile, facts, model_id, None)
    return planner.Request(
        profile=profile, model=served.model, device=served.device,
        device_name=served.device_name, reasons=served.reasons, locations=places, root="/", is_image=False, systemd=systemd,
        program=PROGRAM, templates=install.templates(), port=profile.server.port,
        user_manager=MANAGER if scope is Scope.USER and systemd else None,
        linger="ann" if scope is Scope.USER else None,
    )  # fmt: skip


def golden_text(plan: Plan) -> tuple[str, dict[str, str]]:
    """Return a plan with one action a line, and the files that it renders by their golden's name."""
    rendered: dict[str, str] = {}
    lines = [
        f"profile {plan.profile}, scope {plan.scope}, model {plan.model}, device {plan.device}"
    ]
    for action in plan.actions:
        params = dict(action.params)
        if isinstance(content := params.get("content"), str):
            name = str(params["path"]).rpartition("/")[2]
            params["content"] = f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
            rendered[str(params["content"])] = content
        if isinstance(model := params.get("model"), dict):
            assert load_catalog().get(str(model["id"])).model_dump(mode="json") == model
            params["model"] = model["id"]
        lines.append(f"{action.id}: {action.summary}\n    {action.kind} {json.dumps(params)}")
    return "\n".join(lines) + "\n", rendered


@pytest.fixture(scope="session", autouse=True)
def _regenerated() -> None:
    if REGENERATE:
        for path in [*GOLDEN.glob("*.txt"), *RENDERED.glob("*")]:
            path.unlink()
        RENDERED.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize(("profile", "machine", "variant"), CASES)
def test_the_plan_is_the_golden_one(facts_of, tmp_path, profile, machine, variant):
    scope, systemd = OTHERS.get(variant, SYSTEM)
    try:
        wanted = request(
            profile_of(profile), facts_of(machine), tmp_path / "r", scope, systemd=systemd
        )
        text, rendered = golden_text(planner.plan(wanted))
    except MachineCannotError as error:
        text, rendered = f"{error.message}\n{error.remedy}\n", {}
    golden = GOLDEN / ("-".join(filter(None, (profile, machine, variant))) + ".txt")
    if REGENERATE:
        golden.write_text(text)
        for name, content in rendered.items():
            (RENDERED / name).write_text(content)
    assert golden.read_text() == text
    for name, content in rendered.items():
        assert (RENDERED / name).read_text() == content


def test_no_golden_is_left_over():
    named = {
        word.strip('"},') for path in GOLDEN.glob("*.txt") for word in path.read_text().split()
    }
    assert {path.name for path in RENDERED.iterdir()} <= named
    assert len(list(GOLDEN.glob("*.txt"))) == len(CASES)


@pytest.fixture
def base(facts_of, tmp_path) -> planner.Request:
    machine = facts_of("xeon-amx-two-sockets")
    profile = profile_of("local-opus")
    return request(
        profile, machine, tmp_path / "r", Scope.SYSTEM, systemd=True, model_id="smollm2-135m"
    )


def ids(wanted: planner.Request) -> list[str]:
    return [action.id for action in planner.plan(wanted).actions]


def params(wanted: planner.Request, id_: str) -> dict[str, object]:
    return next(dict(item.params) for item in planner.plan(wanted).actions if item.id == id_)


def test_the_same_request_gives_the_same_plan(base):
    assert planner.plan(base) == planner.plan(base)


def test_every_action_can_be_made_and_says_what_the_plan_says(base):
    for action in planner.plan(base).actions:
        made = build(action.kind, action.params)
        assert made.summary() == action.summary
        for path in made.paths():
            assert any(path == root or path.startswith(f"{root}/") for root in base.locations.roots)


def test_a_plan_is_plain_json(base):
    plan = planner.plan(base)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert len(set(ids(base))) == len(ids(base))


def test_folders_come_before_what_lies_in_them(base):
    plan = planner.plan(base)
    made = [str(item.params["path"]) for item in plan.actions if item.kind == "create_folder"]
    order = [item.id for item in plan.actions]
    for item in plan.actions:
        if item.kind in {"write_file", "link_command", "install_unit"}:
            folder = str(item.params["path"]).rpartition("/")[0]
            assert folder in made
            maker = next(a.id for a in plan.actions if a.params.get("path") == folder)
            assert order.index(maker) < order.index(item.id)


def test_an_image_is_enabled_as_the_machine_is(base):
    image = replace(base, root="/mnt/image", is_image=True, systemd=False)
    assert params(image, "server")["units"] == params(base, "server")["units"]
    assert "unit:local-opus.service" in ids(image)
    detached = replace(base, systemd=False)
    assert "command" in params(detached, "server")


def quiet_profile(base: planner.Request, **server: object) -> planner.Request:
    table = base.profile.server.model_copy(update=server)
    return replace(base, profile=base.profile.model_copy(update={"server": table}))


NETWORKS = {  # whether the server is handed its socket
    "as it comes": (lambda base: base, True),
    "the profile says no": (lambda base: quiet_profile(base, private_network=False), False),
    "a user's systemd": (lambda base: replace(base, locations=locate(Scope.USER, {"HOME": "/h"})), False),
    "no systemd": (lambda base: replace(base, systemd=False), False),
    "an image": (lambda base: replace(base, systemd=False, is_image=True), True),
}  # fmt: skip


@pytest.mark.parametrize(("change", "private"), NETWORKS.values(), ids=NETWORKS)
def test_the_server_has_a_network_only_where_systemd_can_not_listen_for_it(base, change, private):
    wanted = change(base)
    assert ("unit:local-opus.socket" in ids(wanted)) is private
    text = str(params(wanted, "unit:local-opus.service")["content"])
    assert ("PrivateNetwork=yes" in text) is private
    assert ("Requires=local-opus.socket" in text) is private
    assert ("RestrictAddressFamilies=AF_UNIX\n" in text) is private


@pytest.mark.parametrize(
    ("host", "listen"), [("127.0.0.1", "127.0.0.1:8000"), ("::1", "[::1]:8000")]
)
def test_the_socket_listens_where_the_config_says(base, host, listen):
    wanted = quiet_profile(base, host=host)
    assert f"ListenStream={listen}\n" in str(params(wanted, "unit:local-opus.socket")["content"])


def test_a_trial_opens_its_own_port_and_is_no_part_of_the_node(base):
    text = str(params(replace(base, trial_port=8001), "trial")["unit"])
    assert "PrivateNetwork" not in text
    assert "local-opus.target" not in text
    assert "StateDirectory=local-opus-trial\n" in text


@pytest.mark.parametrize(
    ("device", "groups", "lines"),
    [
        (Device.GPU, ("render",), ["SupplementaryGroups=render"]),
        (Device.NPU, ("accel", "video"), ["SupplementaryGroups=accel", "SupplementaryGroups=video"]),
        (Device.GPU, (), []),
        (Device.CPU, ("render",), []),
    ],
)  # fmt: skip
def test_the_service_is_in_the_groups_of_the_nodes_that_it_uses(base, device, groups, lines):
    wanted = replace(base, device=device, device_groups=groups)
    text = str(params(wanted, "unit:local-opus.service")["content"])
    assert [line for line in text.splitlines() if line.startswith("Suppl")] == lines


def test_every_unit_that_comes_up_with_the_target_ends_with_it(base):
    contents = [
        str(action.params["content"])
        for action in planner.plan(base).actions
        if action.id.startswith("unit:") and action.id != "unit:local-opus.target"
    ]
    started = [text for text in contents if "\n[Install]\n" in text]
    assert len(started) > 2
    for text in started:
        assert "\nWantedBy=local-opus.target\n" in text
        assert "\nPartOf=local-opus.target\n" in text


CHANGES: dict[str, Callable[[planner.Request], planner.Request]] = {
    "port": lambda base: replace(base, port=8001),
    "program": lambda base: replace(base, program=replace(base.program, program_sha256="e" * 64)),
    "lock": lambda base: replace(base, program=replace(base.program, locks=dict.fromkeys(base.program.locks, "b" * 64))),
    "python": lambda base: replace(base, program=replace(base.program, python=Interpreter("/usr/bin/python3", "3.12"))),
    "setting": lambda base: replace(base, profile=base.profile.model_copy(update={"generation": base.profile.generation.model_copy(update={"temperature": 0.1})})),
    "openvino": lambda base: replace(base, profile=base.profile.model_copy(update={"openvino": base.profile.openvino.model_copy(update={"num_streams": 2})})),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_the_server_reads_starts_it_anew(base, change):
    assert params(CHANGES[change](base), "server") != params(base, "server")


@pytest.mark.parametrize(("change", "makes"), [("port", False), ("setting", False), ("program", True), ("lock", True), ("python", True)])  # fmt: skip
def test_an_environment_is_named_by_what_goes_into_it(base, change, makes):
    def environment(wanted: planner.Request) -> str:
        return next(item for item in ids(wanted) if item.startswith("environment:"))

    assert (environment(CHANGES[change](base)) != environment(base)) is makes


@pytest.mark.parametrize(("profile", "lock"), [("external-api", "requirements.lock"), ("military", "requirements-openvino.lock"), ("local-opus", "requirements-server.lock")])  # fmt: skip
def test_the_lock_of_a_profile(profile, lock):
    assert planner.lock_of(profile_of(profile)) == lock


def test_an_ir_is_not_converted(base):
    ir = next(model for model in load_catalog().models if model.format == "openvino-ir")
    wanted = replace(base, model=ir, device=Device.CPU)
    assert "variant" not in ids(wanted)
    assert planner.model_folder(base.locations, ir, Device.CPU) == planner.source_folder(base.locations, ir)  # fmt: skip


@pytest.mark.parametrize("name", ["GPU.0", "GPU.1", "CPU", "NPU"])
def test_the_server_is_set_to_the_device_by_its_name(base, name):
    """One word in model.json, in the trial and in the plan; the variant stays that of the kind."""
    device = Device(name.partition(".")[0])
    wanted = replace(base, device=device, device_name=name, trial_port=8001)
    assert f'"device": "{name}"' in str(params(wanted, "config:model")["content"])
    trial = params(wanted, "trial")
    assert (trial["device"], f'"device": "{name}"' in str(trial["configs"])) == (name, True)
    assert params(wanted, "variant")["device"] == device.value
    plan = planner.plan(wanted)
    assert (plan.device, plan.device_name) == (device, name)
    assert build("try_server", trial).device == name


def test_a_hostile_name_can_not_enter_a_file(base):
    """What a profile or a path holds stays a value in every rendered file."""
    nasty = "/opt/a b\"c$(id)%h'd"
    wanted = replace(
        base, locations=replace(base.locations, prefix=nasty, config="/etc/lo", models="/m")
    )
    for action in planner.plan(wanted).actions:
        content = action.params.get("content")
        if isinstance(content, str) and action.id.startswith("config:"):
            json.loads(content)
        if action.id == "unit:local-opus.service":
            assert "\nExecStart=" in str(content)
            assert "%h" not in str(content).replace("%%h", "")
