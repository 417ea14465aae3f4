"""Reports of a sandbox as a server gives them, for tests of who reads them."""

from __future__ import annotations

from local_opus.values import Probe, ProbeKind, ProcessView, SandboxReport

#: /proc/PID/status of a server in its unit (systemd 252), as far as it is read.
STATUS = (
    "Name:\tpython\nPid:\t{pid}\nUid:\t64342\t64342\t64342\t64342\nGroups:\t64342 65534\n"
    "NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t9\n"
    "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
)
UID_MAP = "         0          0          1\n     64342      64342          1\n"
NAMESPACES = {"mnt": "mnt:[4026532601]", "net": "net:[4026532602]", "user": "user:[4026532603]"}
PID = 4711


def probe(
    name: str,
    *,
    allowed: bool | None = False,
    expected: bool | None = False,
    evidence: str = "EPERM",
    directive: str = "",
    tried: str = "",
) -> Probe:
    return Probe(
        id=name,
        kind=ProbeKind(name.partition("-")[0]),
        tried=tried or name.partition("-")[2],
        allowed=allowed,
        expected=expected,
        evidence=evidence,
        directive=directive,
    )


HOLDING = (
    probe("write-etc", evidence="EROFS", directive="ProtectSystem=strict", tried="/etc"),
    probe("write-state", allowed=True, expected=True, tried="/var/lib/private/x", evidence="done"),
    probe("read-home", directive="ProtectHome=yes", tried="/home", evidence="EACCES"),
    probe("open-disks", directive="DevicePolicy=closed", tried="disks"),
    probe(
        "reach-tcp", directive="IPAddressDeny=any, or PrivateNetwork=yes", tried="TCP to 192.0.2.1"
    ),
    probe("do-mount", directive="SystemCallFilter=~@mount", tried="mount(2)"),
    probe("do-write-execute", allowed=True, expected=True, tried="memory to write and execute"),
)


def view(**changes: object) -> ProcessView:
    found = ProcessView.read("server", PID, STATUS.format(pid=PID), UID_MAP, NAMESPACES)
    return found.model_copy(update=changes)


def report(*more: Probe, without: tuple[str, ...] = (), **changes: object) -> SandboxReport:
    """The report of a server whose sandbox holds, but for what is given."""
    instead = {one.id for one in more}
    kept = [one for one in HOLDING if one.id not in {*without, *instead}]
    made = SandboxReport(
        processes=(view(),), interfaces=("lo",), probes=(*kept, *more), seconds=0.4,
        egress_tried=4, egress_refused=4, packets_without_route=0,
    )  # fmt: skip
    return made.model_copy(update=changes)
