"""The probe of the sandbox, run for real: unconfined, and under what can be had without systemd."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from local_opus.runtime import protocol
from local_opus.runtime.tries import Tried, in_child
from local_opus.values import Probe, SandboxReport
from models import CHECKOUT

PROBE = (sys.executable, "-s", "-P", "-m", "local_opus.runtime.sandbox_probe")
CONFINED = (sys.executable, str(CHECKOUT / "tests/confined.py"))
ENGINE_GONE = (
    2**22 + 1
)  # above the kernel's largest number of a process (proc_sys_kernel(5), pid_max)
is_root = os.geteuid() == 0
free = "Seccomp:\t0" in Path("/proc/self/status").read_text()
needs_freedom = pytest.mark.skipif(not free, reason="these tests run under a filter themselves")


def look(
    *prefix: str, environ: Mapping[str, str] | None = None, **request: object
) -> SandboxReport:
    """The report of a probe that is started by ``prefix``."""
    asked = {"engine": None, "weights": "/var/lib/local-opus/models/x", "device": "CPU", **request}
    done = subprocess.run(
        [*prefix, *PROBE],
        input=protocol.encode(asked),
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **(environ or {})},
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    (answer,) = protocol.Decoder().feed(done.stdout)
    return SandboxReport.model_validate(answer["result"])


@pytest.fixture(scope="module")
def unconfined() -> SandboxReport:
    return look()


def of(report: SandboxReport, name: str) -> Probe:
    return next(probe for probe in report.probes if probe.id == name)


def test_it_tells_what_an_ordinary_process_can_do(unconfined):
    ids = [probe.id for probe in unconfined.probes]
    assert len(ids) == len(set(ids)) > 40
    for name in ("write-tmp", "write-shm", "do-write-execute"):
        assert of(unconfined, name).allowed, name
    assert unconfined.breaches, "an unconfined process has no sandbox"
    assert unconfined.seconds < 5


def test_it_tells_what_the_kernel_says_of_its_parent(unconfined):
    status = Path("/proc/self/status").read_text()
    (server,) = unconfined.processes
    assert (server.name, server.pid, server.uid) == ("server", os.getpid(), os.getuid())
    assert f"CapEff:\t{server.cap_eff}\n" in status
    assert f"CapBnd:\t{server.cap_bnd}\n" in status
    assert f"Seccomp:\t{server.seccomp}\n" in status
    assert server.namespaces["net"] == os.readlink("/proc/self/ns/net")
    assert server.uid_map == " ".join(Path("/proc/self/uid_map").read_text().split())


def test_it_tells_of_the_engine_too_and_not_of_one_that_ended():
    with subprocess.Popen(["sleep", "60"]) as engine:
        found = look(engine=engine.pid).processes
        engine.kill()
    assert [(view.name, view.pid) for view in found][1:] == [("engine", engine.pid)]
    assert [view.name for view in look(engine=ENGINE_GONE).processes] == ["server"]


@needs_freedom
def test_a_call_that_reaches_the_kernel_is_told_from_one_that_is_refused(unconfined):
    assert of(unconfined, "do-mount").evidence == "EFAULT: it reaches the kernel"
    assert of(unconfined, "do-clock_settime").evidence == "EINVAL: it reaches the kernel"
    numbers = {"mount": 165, "clock_settime": 227, "unshare": 272, "setuid": 105, "ptrace": 101,
               "personality": 135, "socket": 41}  # fmt: skip
    filtered = look(*CONFINED, ",".join(map(str, numbers.values())))
    for name in ("do-mount", "do-clock_settime", "do-user-namespace", "do-setuid", "do-ptrace",
                 "do-personality", "reach-tcp", "reach-udp6", "reach-netlink", "reach-vsock"):  # fmt: skip
        assert of(filtered, name).allowed is False, name
        assert of(filtered, name).evidence.startswith("EPERM"), name
    assert of(filtered, "do-chroot").allowed
    assert (filtered.egress_tried, filtered.egress_refused) == (4, 4)


@pytest.mark.skipif(not is_root or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_without_capabilities_what_needs_one_is_refused(unconfined):
    bare = look("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    for name in ("do-reboot", "do-sethostname", "reach-packet", "reach-raw", "do-realtime"):
        assert of(bare, name).allowed is False, name
    for name in ("do-reboot", "do-sethostname", "reach-packet", "reach-raw"):
        assert of(unconfined, name).allowed, name


@pytest.mark.skipif(not is_root, reason="a network namespace needs root")
def test_without_a_network_no_host_is_reached_and_it_is_counted():
    alone = look("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"')
    assert alone.interfaces == ("lo",)
    assert (alone.egress_tried, alone.egress_refused) == (4, 4)
    assert of(alone, "reach-tcp").evidence == "ENETUNREACH: no route; there is no interface but lo"
    assert alone.packets_without_route is not None
    assert alone.packets_without_route >= 4
    # In a network of its own no filter is needed, and it is said that there is none.
    assert (of(alone, "reach-filter").allowed, of(alone, "reach-filter").expected) == (True, None)


@pytest.mark.skipif(not is_root, reason="a network namespace needs root")
def test_no_route_alone_is_no_proof():
    script = 'ip link set lo up && ip link add far type bridge && exec "$0" "$@"'
    found = look("unshare", "--net", "sh", "-c", script)
    assert found.interfaces == ("far", "lo")
    assert of(found, "reach-tcp").allowed is None
    assert "proves no refusal" in of(found, "reach-tcp").evidence
    assert of(found, "reach-filter") in found.breaches
    assert found.packets_without_route is None


@pytest.mark.skipif(not is_root, reason="a mount namespace needs root")
def test_a_read_only_tree_is_told(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    script = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec "$0" "$@"'
    found = look("unshare", "--mount", "sh", "-c", script, state=str(state))
    assert of(found, "write-state").evidence == "EROFS"
    assert of(found, "write-state") in found.lacking


def test_nothing_is_changed_by_it():
    def seen() -> dict[str, object]:
        folders = ("/etc", "/usr", "/boot", "/root", "/home", "/dev/shm")
        there = [path for path in folders if os.path.isdir(path)]
        names = {path: sorted(os.listdir(path)) for path in there if os.access(path, os.R_OK)}
        values = ("/proc/sys/vm/swappiness", "/proc/sys/kernel/hostname", "/proc/swaps")
        texts = {path: Path(path).read_text() for path in values if os.path.exists(path)}
        return {**names, **texts}

    before = seen()
    look()
    assert seen() == before


def test_the_home_of_a_user_names_the_install(tmp_path):
    home = tmp_path / "home"
    receipt = home / ".local/state/local-opus/receipt.jsonl"
    receipt.parent.mkdir(parents=True)
    receipt.write_text("")
    weights = str(home / ".local/share/local-opus/models/m/cpu")
    environ = {"HOME": str(home), "XDG_DATA_HOME": "", "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": ""}
    found = look(environ=environ, weights=weights)
    assert of(found, "read-receipt").tried == str(receipt)
    assert of(found, "read-receipt").allowed


@pytest.mark.parametrize(
    ("do", "found"),
    [
        (lambda: 0, Tried(allowed=True, evidence="done")),
        (lambda: 1, Tried(allowed=False, evidence="EPERM")),
        (lambda: 1 / 0, Tried(allowed=None, evidence="the try broke")),
        (lambda: os.kill(os.getpid(), signal.SIGSYS),
         Tried(allowed=False, evidence="SIGSYS: the filter ends the process")),
        (lambda: time.sleep(30), Tried(allowed=None, evidence="the try ended by SIGALRM")),
    ],
    ids=["done", "refused", "broken", "killed by a filter", "hangs"],
)  # fmt: skip
def test_what_a_child_does_not_live_to_tell_is_told(do, found, capfd):
    assert in_child(do) == found
