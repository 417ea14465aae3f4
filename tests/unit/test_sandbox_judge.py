"""What a report of the sandbox amounts to, and what the kernel says of it."""

from __future__ import annotations

import pytest
from checks_host import write

from local_opus.sandbox import judge, outside
from local_opus.sandbox.outside import Outside
from sandboxes import NAMESPACES, PID, STATUS, UID_MAP, probe, report, view

OPEN_ETC = probe(
    "write-etc", allowed=True, evidence="done", directive="ProtectSystem=strict", tried="/etc"
)
NO_FILTER = probe("reach-filter", allowed=True, expected=None, directive="IPAddressDeny=any")


def test_what_holds_is_said_to_hold():
    found = judge.judge(report())
    assert found.holds
    assert (
        judge.verdict(report(), found)
        == "holds: 7 tries from inside, 5 refused, and each that has to be"
    )


def test_what_is_open_is_named():
    made = report(OPEN_ETC)
    found = judge.judge(made)
    assert not found.holds
    assert found.breaches == (OPEN_ETC,)
    assert judge.verdict(made, found) == "open: 1 of 7 tries should be refused: write /etc"


def test_more_than_three_are_counted():
    more = [probe(f"do-{n}", allowed=True, directive="X") for n in range(5)]
    made = report(*more)
    assert judge.verdict(made, judge.judge(made)).endswith("do 0, do 1, do 2 and 2 more")


def test_what_the_unit_has_not_is_not_enforced_and_no_breach():
    made = report(OPEN_ETC)
    found = judge.judge(made, closing=frozenset({"SystemCallFilter"}))
    assert (found.holds, found.breaches, found.not_enforced) == (True, (), (OPEN_ETC,))
    assert judge.verdict(made, found) == (
        "partial: 4 of 7 tries from inside are refused; the user's systemd does not enforce ProtectSystem"
    )
    assert judge.judge(made, closing=frozenset({"ProtectSystem"})).breaches == (OPEN_ETC,)


@pytest.mark.parametrize(("shares", "breaches"), [(True, 1), (False, 0), (None, 0)])
def test_without_a_filter_only_a_network_of_its_own_will_do(shares, breaches):
    assert len(judge.judge(report(NO_FILTER), shares_network=shares).breaches) == breaches


def test_what_the_server_needs_and_is_refused_is_lacking():
    closed = probe("write-state", expected=True, evidence="EROFS", tried="/var/lib/private/x")
    assert judge.judge(report(closed)).lacking == (closed,)


def test_details_tell_what_it_can_and_what_not():
    gone = probe("open-kvm", allowed=None, evidence="ENOENT: not there", tried="/dev/kvm")
    dark = probe("reach-udp", allowed=None, evidence="no proof", tried="UDP to 192.0.2.1")
    lines = list(judge.details(report(gone, dark)))
    assert "can write: /var/lib/private/x (1 refused)" in lines
    assert "can open: nothing (1 refused)" in lines
    assert "can reach: nothing (1 refused, not told: UDP to 192.0.2.1)" in lines
    assert "can do: memory to write and execute (1 refused)" in lines
    assert (
        f"server (PID {PID}): a seccomp filter, no new privileges, no capability, and none to gain, user 64342"
        in lines
    )
    assert "network interfaces: lo" in lines
    assert lines[-1] == (
        "other hosts: these tests tried 4 times since the start, refused 4 times; 0 packets found no way out of its network"
    )
    assert not any("kvm" in line for line in lines)


def seen(**changes: object) -> Outside:
    kept = {
        "view": view(), "interfaces": ("lo",), "mounts": (("/", True), ("/var/lib/private/x", False)),
        "shares_network": False,
    }  # fmt: skip
    return Outside(**{**kept, **changes})  # type: ignore[arg-type]


CONTRADICTIONS = {
    "seccomp": ({"view": view(seccomp=0)}, "Seccomp: the server says 2, the kernel says 0"),
    "filters": (
        {"view": view(seccomp_filters=1)},
        "Seccomp_filters: the server says 9, the kernel says 1",
    ),
    "privileges": (
        {"view": view(no_new_privs=False)},
        "NoNewPrivs: the server says yes, the kernel says no",
    ),
    "capabilities": (
        {"view": view(cap_eff="000001ffffffffff")},
        "CapEff: the server says 0000000000000000, the kernel says 000001ffffffffff",
    ),
    "bounding set": (
        {"view": view(cap_bnd="000001ffffffffff")},
        "CapBnd: the server says 0000000000000000, the kernel says 000001ffffffffff",
    ),
    "another process": ({"view": view(pid=1)}, f"PID: the server says {PID}, the kernel says 1"),
    "namespace": (
        {"view": view(namespaces={**NAMESPACES, "net": "net:[1]"})},
        "namespace net: the server says net:[4026532602], the kernel says net:[1]",
    ),
    "interfaces": (
        {"interfaces": ("eth0", "lo")},
        "network interfaces: the server says lo, the kernel says eth0, lo",
    ),
    "a writable mount": (
        {"mounts": (("/", False),)},
        "/etc: the server says it is read-only, the kernel has / writable",
    ),
    "a writable mount over a closed one": (
        {"mounts": (("/", True), ("/etc", True), ("/etc", False))},
        "/etc: the server says it is read-only, the kernel has /etc writable",
    ),
}


@pytest.mark.parametrize(("changes", "said"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_server_that_says_other_than_the_kernel_is_found(changes, said):
    assert outside.contradictions(report(), seen(**changes)) == (said,)
    found = judge.judge(report(), (said,))
    assert not found.holds
    assert judge.verdict(report(), found) == f"contradicted: {said}"


def test_what_is_closed_to_the_caller_contradicts_nothing():
    nothing = view(namespaces={}, seccomp=None, cap_eff=None)
    assert outside.contradictions(report(), seen(view=nothing, interfaces=None, mounts=())) == ()
    assert outside.contradictions(report(), seen()) == ()


def test_a_report_without_the_server_is_none():
    empty = report(processes=())
    assert outside.contradictions(empty, seen()) == ("the server says nothing of its own process",)


def proc(host, **changes):  # type: ignore[no-untyped-def]
    """/proc of a machine with the server's process, and of this program's own."""
    from pathlib import Path

    folder = f"/proc/{PID}"
    write(host, f"{folder}/status", STATUS.format(pid=PID))
    write(host, f"{folder}/uid_map", UID_MAP)
    write(host, f"{folder}/net/dev", "Inter-|\n face |bytes\n    lo: 1 2\n  eth0: 3 4\n")
    write(host, f"{folder}/mountinfo", "1 0 8:1 / / rw,noatime master:1 - ext4 x rw\n"
          "2 1 8:1 /a /my\\040etc ro,nosuid - ext4 x rw\n")  # fmt: skip
    for pid, net in ((PID, NAMESPACES["net"]), (host.pid, changes.get("own", "net:[1]"))):
        links = Path(f"{host.root}/proc/{pid}/ns")
        links.mkdir(parents=True)
        (links / "net").symlink_to(net)


def test_the_kernels_view_is_read(host):
    proc(host)
    found = outside.look(host, PID)
    assert found is not None
    assert found.view == view(namespaces={"net": NAMESPACES["net"]})
    assert found.interfaces == ("eth0", "lo")
    assert found.mounts == (("/", False), ("/my etc", True))
    assert found.shares_network is False


def test_a_shared_network_is_seen(host):
    proc(host, own=NAMESPACES["net"])
    found = outside.look(host, PID)
    assert found is not None
    assert found.shares_network is True


def test_a_process_that_ended_is_not_seen(host):
    assert outside.look(host, PID) is None
