"""Which settings of a drop-in open the sandbox, and where they stand."""

from __future__ import annotations

import pytest
from checks_host import write

from local_opus.sandbox import directives, drop_ins
from local_opus.sandbox.drop_ins import UnitFiles
from local_opus.unit_text import service_settings
from local_opus.values import Scope
from models import CHECKOUT

UNIT = "/etc/systemd/system/local-opus.service"
DROP_IN = f"{UNIT}.d/mine.conf"

OPENING = (
    "NoNewPrivileges=no", "NoNewPrivileges=", "ProtectSystem=no", "ProtectSystem=full", "PrivateNetwork=false",
    "IPAddressDeny=", "IPAddressAllow=any", "IPAddressAllow=localhost 10.0.0.0/8", "DeviceAllow=/dev/sda rw",
    "DeviceAllow=block-* r", "DevicePolicy=auto", "SystemCallFilter=", "SystemCallFilter=@mount", "User=root",
    "DynamicUser=no", "CapabilityBoundingSet=CAP_SYS_ADMIN", "CapabilityBoundingSet=~", "AmbientCapabilities=CAP_NET_RAW",
    "ProtectHome=no", "ProtectHome=read-only", "PrivateTmp=off", "RestrictAddressFamilies=",
    "RestrictAddressFamilies=AF_PACKET", "RestrictNamespaces=no", "RestrictNamespaces=user", "ReadWritePaths=/etc",
    "BindPaths=/home", "ExecStart=+/bin/x", "ExecStartPre=!/bin/x", "SupplementaryGroups=docker", "PrivateUsers=0",
    "ProtectProc=default", "SystemCallArchitectures=x86", "JoinsNamespaceOf=x.service", "InaccessiblePaths=",
)  # fmt: skip
HARMLESS = (
    "MemoryMax=8G", "Environment=A=b", "NoNewPrivileges=yes", "ProtectSystem=strict", "IPAddressDeny=any",
    "IPAddressAllow=localhost", "DeviceAllow=", "DeviceAllow=char-drm rw", "DevicePolicy=strict",
    "SystemCallFilter=~@resources", "CapabilityBoundingSet=", "AmbientCapabilities=", "ProtectHome=tmpfs",
    "RestrictAddressFamilies=none", "RestrictAddressFamilies=~AF_INET", "RestrictNamespaces=yes", "TimeoutStopSec=9",
    "ReadWritePaths=", "ExecStartPre=-/bin/x", "SupplementaryGroups=render", "ProcSubset=pid", "CPUQuota=50%",
)  # fmt: skip


@pytest.mark.parametrize("line", OPENING)
def test_what_opens_is_known(line):
    name, _, value = line.partition("=")
    assert directives.opens(name, value)


@pytest.mark.parametrize("line", HARMLESS)
def test_what_opens_nothing_is_known(line):
    name, _, value = line.partition("=")
    assert not directives.opens(name, value)


def files(host, unit: str, *texts: str) -> UnitFiles:  # type: ignore[no-untyped-def]
    write(host, UNIT, f"[Service]\n{unit}\n")
    paths = [f"{UNIT}.d/{number}.conf" for number, _ in enumerate(texts)]
    for path, text in zip(paths, texts, strict=True):
        write(host, path, text)
    host.services.values = {"FragmentPath": UNIT, "DropInPaths": " ".join(paths)}
    return drop_ins.read(host, Scope.SYSTEM, "local-opus.service")


def test_the_line_that_opens_is_named(host):
    found = files(
        host, "NoNewPrivileges=yes", "# mine\n[Service]\nMemoryMax=8G\nNoNewPrivileges=no\n"
    )
    assert [str(line) for line in found.opening] == [f"{UNIT}.d/0.conf:4: NoNewPrivileges=no"]
    assert [str(line) for line in found.harmless] == [f"{UNIT}.d/0.conf:3: MemoryMax=8G"]


UNDONE = {
    "a switch set back": (("ProtectHome=no",), ("ProtectHome=yes",), 0),
    "a switch set back and again": (("ProtectHome=no",), ("ProtectHome=yes\nProtectHome=no",), 2),
    "two files open the same": (("ProtectHome=no",), ("ProtectHome=no",), 2),
    "a list that begins anew": (("IPAddressAllow=any",), ("IPAddressAllow=\nIPAddressAllow=localhost",), 0),
    "a list that goes on": (("IPAddressAllow=any",), ("IPAddressAllow=localhost",), 1),
    "emptied and filled again": (("IPAddressDeny=",), ("IPAddressDeny=any",), 0),
    "a filter emptied and set": (("SystemCallFilter=",), ("SystemCallFilter=~@mount",), 0),
}  # fmt: skip


@pytest.mark.parametrize(("first", "second", "count"), UNDONE.values(), ids=UNDONE.keys())
def test_a_later_setting_can_undo_it(host, first, second, count):
    found = files(host, "", *(f"[Service]\n{text}\n" for text in (*first, *second)))
    assert len(found.opening) == count


def test_what_the_unit_says_itself_is_no_drop_ins_fault(host):
    found = files(
        host, "ProtectHome=no\nNoNewPrivileges=yes\nRestrictAddressFamilies=AF_UNIX\nUMask=0"
    )
    assert found.opening == ()
    assert found.closing == {"NoNewPrivileges", "RestrictAddressFamilies"}


def test_other_sections_and_what_is_gone_are_passed_over(host):
    found = files(host, "", "[Unit]\nNoNewPrivileges=no\n[Install]\nUser=root\n")
    assert (found.opening, found.harmless) == ((), ())
    host.services.values["DropInPaths"] = "/etc/gone.conf"
    assert drop_ins.read(host, Scope.SYSTEM, "x").opening == ()


def test_where_a_setting_is_given_last(host):
    found = files(host, "UMask=0077", "[Service]\nUMask=0022\n")
    assert str(found.last("UMask")) == f"{UNIT}.d/0.conf:2: UMask=0022"
    assert found.last("User") is None


def test_our_own_units_open_nothing_of_their_sandbox():
    texts = [
        path.read_text()
        for path in (CHECKOUT / "tests/golden/rendered").glob("local-opus.service-*")
    ]
    hardened = [text for text in texts if "\nDynamicUser=yes\n" in text]
    assert hardened
    #: Lists, of which each word but the first opens more; and a unit with accelerators.
    known = {"SystemCallFilter", "RestrictAddressFamilies", "PrivateDevices"}
    for text in hardened:
        ours = [one for one in service_settings(text) if one.name in directives._OPENS]
        assert len(ours) > 25
        opened = [one for one in ours if directives.opens(one.name, one.value)]
        assert {one.name for one in opened} <= known
