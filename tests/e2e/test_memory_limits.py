"""What only a kernel of its own can enforce: memory limits, and settings of the machine itself.

A node is installed in a container, whose disk is then booted in qemu (qemu.py). One boot; the tests
are steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from machine import Machine
from nodes import UNIT, Node
from qemu import Virtual

from local_opus import sealed
from local_opus.values.machine_tuning import Item, Knob, MachineTuned
from local_opus.values.tuning import Ratio, TunedFor

pytestmark = pytest.mark.timeout(900)

TUNE_UNIT = "local-opus-tune.service"
TARGET = "local-opus.target"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/limit.conf"
#: Less than the server takes before it loads anything. Starts are bounded by two: each is slow here.
LIMIT = "[Unit]\nStartLimitBurst=2\n[Service]\nMemoryMax=16M\n"
CONFIG = "/etc/local-opus/machine.json"
HUGE = "/sys/kernel/mm/transparent_hugepage"
#: What can be set of the kernel, file by file. Runs there.
SETTINGS = r"""
import glob, json, os, sys
found = {}
for top in sys.argv[1:]:
    for folder, _, files in (one for match in glob.glob(top) for one in os.walk(match)):
        for path in (os.path.join(folder, name) for name in files):
            if os.lstat(path).st_mode & 0o600 != 0o600:
                continue
            try:
                with open(path, "rb") as stream:
                    found[path] = stream.read(4096).decode(errors="replace")
            except OSError as error:
                found[path] = os.strerror(error.errno)
json.dump(found, sys.stdout)
"""
TOPS = (
    "/sys/kernel/mm", "/sys/devices/system/cpu", "/sys/devices/system/node",
    "/sys/module/*/parameters", "/sys/block/*/queue", "/proc/sys",
)  # fmt: skip
#: Counters, and what is another at each look.
_MOVING = {
    "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/random/uuid",
    "/proc/sys/kernel/random/entropy_avail", "/proc/sys/fs/binfmt_misc/status",
}  # fmt: skip

Measured = Callable[[str], None]


@pytest.fixture(scope="module")
def virtual(machine: Machine, node: Node, measured: Measured) -> Iterator[Machine]:
    """The machine with a node that does not come up by itself, in a computer of its own."""
    done = node.install()
    assert done.code == 0, done
    # Its looks would take a good part of so slow a processor.
    units = f"{TARGET} local-opus-monitor.timer"
    node.shell(f"systemctl disable --quiet {units}; systemctl stop {units}")
    machine.power_off()
    begin = time.monotonic()
    with Virtual(machine) as booted:
        measured(f"qemu: booted in {time.monotonic() - begin:.0f} s")
        yield booted


@pytest.fixture(scope="module")
def inside(virtual: Machine) -> Node:
    """The node in it."""
    return Node(virtual, {})


@pytest.fixture(scope="module")
def untouched() -> dict[str, str]:
    """What the kernel was set to before the node set anything; filled by that step."""
    return {}


def settings(virtual: Machine) -> dict[str, str]:
    done = virtual.run("python3", "-I", "-c", SETTINGS, *TOPS)
    assert done.code == 0, done
    found: dict[str, str] = json.loads(done.out)
    assert "/proc/sys/vm/nr_hugepages" in found
    return {path: text for path, text in found.items() if path not in _MOVING}


def chosen(virtual: Machine) -> MachineTuned:
    """Return a result that chose huge pages, as a measurement would write it."""
    wanted = {"enabled": "always", "defrag": "defer+madvise"}
    knobs = tuple(
        Knob(path=f"{HUGE}/{name}", before=virtual.run("cat", f"{HUGE}/{name}").out, wanted=value)
        for name, value in wanted.items()
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
        items=(Item(id="huge-pages", decision="chosen", reason="x", knobs=knobs, gain=gain),),
        seconds=1.0,
        at="2026-01-01T00:00:00+00:00",
    )


def test_the_kernel_enforces_what_a_container_can_not(virtual: Machine) -> None:
    done = virtual.run(
        "systemd-run", "--quiet", "--wait", "--pipe", "--property=MemoryMax=20M",
        "python3", "-c", "x = bytearray(50_000_000)",
    )  # fmt: skip
    assert done.code != 0, done
    written = virtual.run(
        "sh", "-ec", "echo 3 >/proc/sys/vm/nr_hugepages; cat /proc/sys/vm/nr_hugepages"
    )
    assert written.out == "3\n", written
    assert virtual.run("sh", "-ec", "echo 0 >/proc/sys/vm/nr_hugepages").code == 0


def test_huge_pages_are_set_and_restored_to_the_letter(
    virtual: Machine, inside: Node, untouched: dict[str, str]
) -> None:
    # A machine that has them for who asks; the node's measurement chose them for all.
    inside.shell(f"echo madvise >{HUGE}/enabled; echo madvise >{HUGE}/defrag")
    untouched |= settings(virtual)
    text = sealed.dump(chosen(virtual)).decode()
    inside.shell(f"cat >{CONFIG} <<'E'\n{text}E\nsystemctl start {TUNE_UNIT}")
    now = settings(virtual)
    assert {path for path in now if now[path] != untouched[path]} == {
        f"{HUGE}/defrag",
        f"{HUGE}/enabled",
    }
    assert now[f"{HUGE}/enabled"] == "[always] madvise never\n"
    assert now[f"{HUGE}/defrag"] == "always defer [defer+madvise] madvise never\n"
    inside.shell(f"systemctl stop {TUNE_UNIT}")
    assert settings(virtual) == untouched


def test_a_limit_that_is_too_low_ends_in_a_failure_that_names_it(
    virtual: Machine, inside: Node
) -> None:
    folder = DROP_IN.rpartition("/")[0]
    inside.shell(
        f"systemd-run --quiet --unit=bystander sleep infinity; mkdir -p {folder}; "
        f"printf '%s' '{LIMIT}' >{DROP_IN}; systemctl daemon-reload"
    )
    started = virtual.run("local-opus", "start", timeout=240)
    assert started.code == 1, started
    deadline = time.monotonic() + 120
    while inside.properties("ActiveState")["ActiveState"] != "failed":
        assert time.monotonic() < deadline, "it is started again and again"
        time.sleep(1)
    # systemd says oom-kill only of units that it would stop for that (OOMPolicy=).
    ended = inside.properties("Result", "NRestarts", "ExecMainStatus")
    assert ended["Result"] in {"oom-kill", "signal"}
    assert (ended["ExecMainStatus"], ended["NRestarts"]) == ("9", "2")
    said = virtual.run("local-opus", "status").out
    for text in (started.err, said):
        assert f"{DROP_IN}:4: MemoryMax=16M" in text, text
    assert virtual.run("systemctl", "is-active", "bystander").out == "active\n"
    inside.shell(f"rm -r {folder}; systemctl daemon-reload; systemctl stop bystander")


def test_an_uninstall_leaves_the_kernel_as_it_was(
    virtual: Machine, untouched: dict[str, str]
) -> None:
    assert settings(virtual)[f"{HUGE}/enabled"] == "[always] madvise never\n"
    # An install's own file is taken back to the letter; this one is the test's.
    assert virtual.run("rm", CONFIG).code == 0
    done = virtual.run("local-opus", "uninstall", "--purge", "--yes", timeout=240)
    assert done.code == 0, done
    assert settings(virtual) == untouched
