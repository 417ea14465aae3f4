"""The machine's own settings under a real systemd: set, drifted, taken back; whatever is killed.

The container's /sys is read-only, as it is this machine's. So it is given a folder of plain files in
the place of cpufreq, written as a laptop's were recorded. One machine; the tests are steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lab as labs
import pytest
from machine import Done, Machine
from nodes import LEFT_OUT, UNINSTALL, Node
from tree import Tree, difference, snapshot

from local_opus import sealed
from local_opus.values.machine_tuning import Item, Knob, MachineTuned
from local_opus.values.tuning import Ratio, TunedFor
from played_kernel import CPU, laptop

pytestmark = pytest.mark.timeout(600)

UNIT = "local-opus-tune.service"
INSTALL = ("./installer", "--profile", "military", "--yes")
CONFIG = "/etc/local-opus/machine.json"
#: Where the machine sees the folder, and the unit that mounts it over its kernel's own.
OUTSIDE = "/srv/cpufreq"
MOUNT = "sys-devices-system-cpu-cpufreq.mount"
RECORD = "/run/local-opus-tune/set.json"
#: Exposure by systemd-analyze(1), of 10; measured 0.6 on systemd 252.
BOUND = 0.7

Measured = Callable[[str], None]


@pytest.fixture(scope="module")
def cpufreq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A laptop's cpufreq, in plain files."""
    folder = tmp_path_factory.mktemp("cpufreq")
    for path, text in laptop().items():
        if path.startswith(CPU):
            target = folder / path.removeprefix(f"{CPU}/")
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
    return folder


@pytest.fixture(scope="module")
def machine(lab: labs.Lab, cpufreq: Path) -> Iterator[Machine]:
    """A machine whose processor's clock can be set."""

    def prepare(tree: Path) -> None:
        labs.copy_checkout(tree / labs.INSIDE.lstrip("/"))
        units = tree / "etc/systemd/system"
        wants = units / "local-fs.target.wants"
        wants.mkdir(parents=True)
        (units / MOUNT).write_text(
            f"[Mount]\nWhat={OUTSIDE}\nWhere={CPU}\nType=none\nOptions=bind\n"
        )
        (wants / MOUNT).symlink_to(f"../{MOUNT}")

    if not Path(CPU).is_dir():
        pytest.skip(f"{CPU}: this kernel has no such folder to mount one over")
    with Machine(lab, "machine-tuning", prepare, {cpufreq: OUTSIDE}) as booted:
        yield booted


def values(folder: Path) -> dict[str, str]:
    """Return what every file holds."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def chosen(cpufreq: Path) -> MachineTuned:
    """Return a result that chose the governor and its hint, as a measurement would write it."""
    wanted = ("scaling_governor", "energy_performance_preference")
    knobs = tuple(
        Knob(path=f"{CPU}/{path}", before=text, wanted="performance")
        for name in wanted
        for path, text in values(cpufreq).items()
        if path.endswith(f"/{name}")
    )
    gain = Ratio(median=1.2, low=1.1, high=1.3, rounds=12, confidence=0.99)
    return MachineTuned(
        measured_on=TunedFor(
            model=None,
            weights_sha256=None,
            device="CPU",
            device_name="x",
            driver=None,
            openvino="x",
        ),
        items=(Item(id="governor", decision="chosen", reason="x", knobs=knobs, gain=gain),),
        seconds=1.0,
        at="2026-01-01T00:00:00+00:00",
    )


def item(machine: Machine) -> dict[str, object]:
    """Return what status says of the governor."""
    done = machine.run("local-opus", "status", "--json")
    found: dict[str, object] = json.loads(done.out)["machine"]["items"][0]
    assert found["id"] == "governor"
    return found


def systemctl(machine: Machine, *words: str) -> Done:
    if "start" in words:  # the tests start it more often than systemd's limit allows in 10 s
        machine.run("systemctl", "reset-failed", UNIT)
    done = machine.run("systemctl", *words)
    assert done.code == 0, (done, machine.run("journalctl", "-u", UNIT, "-n", "30").out)
    return done


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "-u", UNIT, "--output=cat").out


def wait_stopped(machine: Machine) -> None:
    """Wait for the unit: who stops the target waits for the target alone."""
    deadline = time.monotonic() + 30
    while machine.run("systemctl", "is-active", UNIT).out.strip() != "inactive":
        assert time.monotonic() < deadline, journal(machine)
        time.sleep(0.2)


def test_an_install_without_measuring_sets_nothing(
    node: Node, machine: Machine, before: Tree, cpufreq: Path
) -> None:
    before |= snapshot(machine)
    was = values(cpufreq)
    done = node.call(*INSTALL)
    assert done.code == 0, done
    assert systemctl(machine, "is-active", UNIT).out.strip() == "active"
    assert values(cpufreq) == was
    said = json.loads(machine.run("local-opus", "status", "--json").out)["machine"]
    assert said["verdict"] == "6 not applicable, 1 not measured", said["details"]
    assert "installed with --no-tune" in said["items"][0]["reason"]
    assert "nothing of this machine was chosen" in journal(machine)


def test_the_unit_is_hardened(machine: Machine, measured: Measured) -> None:
    done = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    overall = float(done.out.rpartition("exposure level for")[2].split(":")[1].split()[0])
    measured(f"exposure of {UNIT}: {overall}")
    assert overall <= BOUND, done.out


def test_the_unit_sets_what_was_chosen_and_records_it(machine: Machine, cpufreq: Path) -> None:
    text = sealed.dump(chosen(cpufreq)).decode()
    assert machine.run("sh", "-ec", f"cat > {CONFIG} <<'E'\n{text}E\n").code == 0
    systemctl(machine, "restart", UNIT)
    now = values(cpufreq)
    assert now["policy0/scaling_governor"] == "performance", journal(machine)
    assert now["policy1/energy_performance_preference"] == "performance"
    assert item(machine)["state"] == "applied"
    record = json.loads(machine.run("cat", RECORD).out)
    assert {one["before"] for one in record["files"]} == {"powersave\n", "balance_performance\n"}


def test_stopping_restores_every_byte(machine: Machine, cpufreq: Path) -> None:
    systemctl(machine, "stop", "local-opus.target")
    wait_stopped(machine)
    was = {path.removeprefix(f"{CPU}/"): text for path, text in laptop().items() if CPU in path}
    assert values(cpufreq) == was
    assert item(machine)["state"] == "not applied"
    systemctl(machine, "start", "local-opus.target")
    assert values(cpufreq)["policy0/scaling_governor"] == "performance"


def test_what_somebody_else_set_is_kept_and_named(machine: Machine, cpufreq: Path) -> None:
    (cpufreq / "policy0/scaling_governor").write_text("schedutil\n")
    found = item(machine)
    assert found["state"] == "drifted"
    assert "somebody set schedutil" in str(found["reason"])
    doctor = machine.run("local-opus", "doctor", "--json")
    check = next(one for one in json.loads(doctor.out)["results"] if one["id"] == "machine")
    assert (check["state"], "schedutil" in check["evidence"]) == ("warn", True)
    systemctl(machine, "stop", UNIT)
    now = values(cpufreq)
    assert now["policy0/scaling_governor"] == "schedutil\n"
    assert now["policy1/scaling_governor"] == "powersave\n"
    assert "somebody else has set schedutil" in journal(machine)
    assert item(machine)["state"] == "drifted"
    (cpufreq / "policy0/scaling_governor").write_text("powersave\n")


def test_a_kill_half_way_is_put_right_by_the_next_start(machine: Machine, cpufreq: Path) -> None:
    """The record is there, half of the files are set, and nobody took it back."""
    systemctl(machine, "start", UNIT)
    systemctl(machine, "kill", "--signal=KILL", UNIT)  # nothing runs any more: to no effect
    assert machine.run("cp", RECORD, "/root/record").code == 0
    systemctl(machine, "stop", UNIT)
    half = "mkdir -p /run/local-opus-tune && cp /root/record " + RECORD
    assert machine.run("sh", "-ec", half).code == 0
    (cpufreq / "policy1/scaling_governor").write_text("performance")
    systemctl(machine, "start", UNIT)
    systemctl(machine, "stop", UNIT)
    assert values(cpufreq)["policy1/scaling_governor"] == "powersave\n"
    systemctl(machine, "start", UNIT)


def test_what_may_not_be_set_is_refused(machine: Machine, cpufreq: Path) -> None:
    """An edit can't have root write elsewhere; and inside, all else is read-only."""
    text = sealed.dump(chosen(cpufreq)).decode().replace(f"{CPU}/policy0", "/etc/cron.d")
    before = machine.run("sh", "-ec", f"cat {CONFIG}").out
    assert machine.run("sh", "-ec", f"cat > {CONFIG} <<'E'\n{text}E\n").code == 0
    assert machine.run("systemctl", "restart", UNIT).code != 0
    assert "is no file that is set here" in journal(machine)
    assert values(cpufreq)["policy1/scaling_governor"] == "powersave\n"
    assert machine.run("sh", "-ec", f"cat > {CONFIG} <<'E'\n{before}E\n").code == 0
    systemctl(machine, "restart", UNIT)


def test_a_reboot_sets_it_again(machine: Machine, cpufreq: Path) -> None:
    for path, text in laptop().items():  # a fresh kernel's own values
        if path.startswith(CPU):
            (cpufreq / path.removeprefix(f"{CPU}/")).write_text(text)
    machine.reboot()
    assert systemctl(machine, "is-active", UNIT).out.strip() == "active"
    assert values(cpufreq)["policy0/scaling_governor"] == "performance"


def test_an_uninstall_restores_it_and_leaves_nothing(
    node: Node, machine: Machine, before: Tree, cpufreq: Path
) -> None:
    assert machine.run("rm", CONFIG, "/root/record").code == 0
    done = node.call(*UNINSTALL)
    assert done.code == 0, done
    was = {path.removeprefix(f"{CPU}/"): text for path, text in laptop().items() if CPU in path}
    assert values(cpufreq) == was
    assert machine.run("ls", "/run/local-opus-tune").code != 0
    assert difference(before, snapshot(machine), LEFT_OUT) == []
