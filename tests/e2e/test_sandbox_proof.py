"""The sandbox of the installed service: tried from inside, compared from outside, and spoiled.

One machine; the tests are steps in this order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from lab import INSIDE
from machine import Machine
from nodes import UNIT, Node

from local_opus.unit_text import service_settings
from local_opus.values import Probe, SandboxReport

pytestmark = pytest.mark.timeout(600)

USER = "ann"
UNITS = (UNIT, *(f"local-opus-{name}.service" for name in ("monitor", "recover", "tune")))
DROP_IN = f"/etc/systemd/system/{UNIT}.d/mine.conf"
#: Seconds after which the server tries anew; it gives the last answer till then.
AGAIN = 11.0
#: Runs the probe in a unit whose settings are given, and prints what it says.
IN_A_UNIT = """
import json, pathlib, struct, subprocess, sys
given = json.loads(sys.argv[1])
frame = json.dumps({"engine": None, "weights": "/var/lib/local-opus/models/x", "device": "CPU"}).encode()
asked, said = pathlib.Path("/run/probe.in"), pathlib.Path("/run/probe.out")
asked.write_bytes(struct.pack(">I", len(frame)) + frame)
said.unlink(missing_ok=True)
pathlib.Path("/run/systemd/system/sandbox-probe.service").write_text("\\n".join([
    "[Service]", "Type=oneshot", *given["settings"], f"StandardInput=file:{asked}", f"StandardOutput=file:{said}",
    # Its parent is the server's part, and the machine's first process is hidden from it.
    f"ExecStart=/bin/sh -c '{given['python']} -s -P -m local_opus.runtime.sandbox_probe; exit $?'", "",
]))
for words in (["daemon-reload"], ["start", "sandbox-probe.service"]):
    subprocess.run(["systemctl", *words], check=True)
print(said.read_bytes()[4:].decode())
"""
#: What only says how the server is started and watched.
NOT_OF_THE_SANDBOX = (
    "Type", "Notify", "Exec", "Restart", "Timeout", "Watchdog", "KillMode", "StateDirectory", "CacheDirectory",
    "User", "Group", "StandardInput", "FileDescriptor", "EnvironmentFile",
    "LoadCredential", "OOMPolicy", "Sockets",
)  # fmt: skip

Measured = Callable[[str], None]


def told(machine: Machine, *, fresh: bool = False) -> dict[str, object]:
    """What status says of the sandbox."""
    if fresh:
        time.sleep(AGAIN)
    found: dict[str, object] = json.loads(machine.run("local-opus", "status", "--json").out)[
        "sandbox"
    ]
    return found


def report(machine: Machine, *, fresh: bool = False) -> SandboxReport:
    return SandboxReport.model_validate(told(machine, fresh=fresh)["report"])


def of(found: SandboxReport, name: str) -> Probe:
    return next(probe for probe in found.probes if probe.id == name)


def check(machine: Machine) -> dict[str, object]:
    """What doctor finds of the sandbox."""
    done = machine.run("local-opus", "doctor", "--json", timeout=120)
    (found,) = [one for one in json.loads(done.out)["results"] if one["id"] == "sandbox"]
    assert (found["state"] != "fail") or done.code == 3
    return dict(found)


def restart(node: Node) -> None:
    node.shell(f"systemctl daemon-reload && systemctl restart {UNIT}")
    node.wait_ready()


def test_it_holds(node: Node, machine: Machine, measured: Measured) -> None:
    assert machine.run("useradd", "--create-home", USER).code == 0  # a home that it must not see
    done = node.install()
    assert done.code == 0, done
    node.wait_ready()
    said = told(machine)
    found = SandboxReport.model_validate(said["report"])
    assert found.breaches == (), found.breaches
    assert found.lacking == (), found.lacking
    assert said["holds"] is True, said["verdict"]
    measured(f"sandbox: {said['verdict']}; {found.seconds} s")


def test_the_kernel_says_the_same(node: Node, machine: Machine) -> None:
    found = report(machine)
    server, engine = found.processes
    assert str(server.pid) == node.properties("MainPID")["MainPID"]
    for view in (server, engine):
        status = machine.run("cat", f"/proc/{view.pid}/status").out
        assert view.seccomp == 2
        assert "Seccomp:\t2\n" in status
        assert view.no_new_privs
        assert "NoNewPrivs:\t1\n" in status
        assert view.cap_bnd == view.cap_eff == "0" * 16
        assert f"CapBnd:\t{view.cap_bnd}\n" in status
        link = machine.run("readlink", f"/proc/{view.pid}/ns/mnt").out.strip()
        assert view.namespaces["mnt"] == link
    assert check(machine)["state"] == "pass"


def test_its_own_folders_are_all_that_it_writes(machine: Machine) -> None:
    found = report(machine)
    written = {probe.id for probe in found.probes if probe.kind == "write" and probe.allowed}
    assert written - {"write-shm"} == {"write-state", "write-cache", "write-tmp"}
    assert of(found, "write-weights").evidence == "EROFS"
    assert of(found, "read-home").allowed is False


def test_an_ordinary_user_sees_it_too(machine: Machine) -> None:
    script = "import json,urllib.request as u; print(json.load(u.urlopen('http://127.0.0.1:8000/sandbox'))['egress_tried'])"
    done = machine.run("python3", "-c", script, user=USER)
    assert done.code == 0, done
    assert int(done.out) % 4 == 0


def in_a_unit(machine: Machine, *changes: str) -> SandboxReport:
    """What a unit like the installed one, with the network of loopback, can do after ``changes``."""
    found = service_settings(machine.run("cat", f"/etc/systemd/system/{UNIT}").out)
    kept = [
        f"{one.name}={one.value}"
        for one in found
        if not one.name.startswith(NOT_OF_THE_SANDBOX) and one.name != "PrivateNetwork"
    ]
    network = ("IPAddressAllow=localhost", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX")
    command = next(one.value for one in found if one.name == "ExecStart")
    given = {"settings": [*kept, *network, *changes], "python": command.split('"')[1]}
    done = machine.run("python3", "-c", IN_A_UNIT, json.dumps(given), timeout=60)
    assert done.code == 0, (
        f"{done.out}{done.err}{machine.run('journalctl', '-u', 'sandbox-probe', '-n', '5').out}"
    )
    return SandboxReport.model_validate(json.loads(done.out)["result"])


def test_a_way_out_is_refused_by_the_filter_and_not_by_the_lack_of_a_route(
    node: Node, machine: Machine, measured: Measured
) -> None:
    node.shell(
        "ip link add far type veth peer name near && ip address add 198.51.100.2/24 dev far"
        " && ip address add 2001:db8:1::2/64 dev far nodad && ip link set near up && ip link set far up"
        " && ip route add default via 198.51.100.1 && ip route add default via 2001:db8:1::1"
    )
    send = "import socket as s; [s.socket(f, 2).sendto(b'', (a, 9)) for f, a in ((2, '192.0.2.1'), (10, '2001:db8::1'))]"
    root = machine.run("python3", "-c", send)
    assert root.code == 0, f"there is no way out to refuse: {root}"
    before = report(machine)
    after = report(machine, fresh=True)
    assert after.egress_tried == before.egress_tried + 4
    assert after.egress_refused == before.egress_refused + 4
    assert after.breaches == ()
    measured(f"egress of the service: {after.egress_refused} of {after.egress_tried} refused; "
             f"{of(after, 'reach-udp').evidence}")  # fmt: skip
    filtered = in_a_unit(machine)
    assert "far" in filtered.interfaces
    for name in ("reach-udp", "reach-tcp", "reach-udp6", "reach-tcp6"):
        assert of(filtered, name).allowed is False, of(filtered, name)
        assert "EPERM" in of(filtered, name).evidence
        assert "no route" not in of(filtered, name).evidence
    assert of(filtered, "reach-filter").evidence == "EPERM: a filter refuses the address"


#: A setting that opens or closes something, and the tries that must turn.
TURNS = {
    "IPAddressDeny": (("IPAddressDeny=", "IPAddressAllow="), ("reach-udp", "reach-filter")),
    "RestrictAddressFamilies": (("RestrictAddressFamilies=",), ("reach-netlink",)),
    "ProtectHome": (("ProtectHome=no",), ("read-home",)),
    "ProtectProc": (("ProtectProc=default",), ("read-processes",)),
    "SystemCallFilter": (("SystemCallFilter=",), ("do-mount", "do-chroot", "do-ptrace", "do-setuid")),
    "RestrictNamespaces": (("RestrictNamespaces=no",), ("do-user-namespace",)),
    "LockPersonality": (("LockPersonality=no",), ("do-personality",)),
    "InaccessiblePaths": (("InaccessiblePaths=",), ("reach-bus",)),
    "MemoryDenyWriteExecute": (("MemoryDenyWriteExecute=yes",), ("do-write-execute",)),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "names"), TURNS.values(), ids=TURNS.keys())
def test_each_directive_is_what_refuses(
    machine: Machine, changes: tuple[str, ...], names: tuple[str, ...]
) -> None:
    found = in_a_unit(machine, *changes)
    for name in names:
        probe = of(found, name)
        assert probe.is_breach or probe.is_lacking, probe
        assert probe.directive.startswith(changes[0].partition("=")[0]), probe


def test_a_harmless_drop_in_is_told(node: Node, machine: Machine) -> None:
    node.shell(
        f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf '[Service]\\nMemoryMax=8G\\n' >{DROP_IN}"
    )
    restart(node)
    found = check(machine)
    assert found["state"] == "pass", found
    assert f"{DROP_IN}:2: MemoryMax=8G: harmless" in found["details"]


def test_a_drop_in_that_breaks_it_is_named_before_it_takes_effect(
    node: Node, machine: Machine
) -> None:
    node.shell(
        f"printf 'ProtectHome=no\\nRestrictNamespaces=no\\n' >>{DROP_IN} && systemctl daemon-reload"
    )
    found = check(machine)
    assert found["state"] == "fail"
    assert str(found["evidence"]) == f"a drop-in opens the sandbox: {DROP_IN}:3: ProtectHome=no"


def test_and_by_what_the_server_can_do_when_it_has(node: Node, machine: Machine) -> None:
    restart(node)
    found = check(machine)
    assert found["state"] == "fail"
    assert "tries from inside succeed that should not" in str(found["evidence"])
    details = "\n".join(found["details"])  # type: ignore[arg-type]
    assert (
        f"read /home: 1 names; ProtectHome=yes forbids it; {DROP_IN}:3: ProtectHome=no" in details
    )
    assert f"do a user namespace: done; RestrictNamespaces=yes forbids it; {DROP_IN}:4:" in details
    assert f"{DROP_IN} (lines 3, 4)" in found["fix"]["text"]  # type: ignore[index]
    said = told(machine)
    assert said["holds"] is False
    assert str(said["verdict"]).startswith("open: ")
    shown = machine.run("local-opus", "status").out
    assert "open: " in shown


def test_without_it_all_is_well(node: Node, machine: Machine) -> None:
    node.shell(f"rm {DROP_IN}")
    restart(node)
    assert check(machine)["state"] == "pass"
    node.assert_answers()


def test_each_unit_is_within_its_bound(node: Node, machine: Machine, measured: Measured) -> None:
    done = machine.run("python3", f"{INSIDE}/bench/exposure.py", "--scope", "system")
    for line in done.out.partition("\n\n")[0].splitlines():
        measured(line)
    assert done.code == 0, done
    assert all(f"\n{unit} " in done.out for unit in UNITS), done


def test_without_a_running_server_there_is_nothing_to_try(machine: Machine) -> None:
    assert machine.run("local-opus", "stop").code == 0
    found = check(machine)
    assert found["state"] == "not applicable"
    assert "does not run" in str(found["evidence"])
