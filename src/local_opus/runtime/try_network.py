"""Tries of the sandbox probe: whom it can reach.

Other hosts are tried under addresses that belong to nobody (RFC 5737 and 3849, documentation). An
error that there is no route proves no refusal, so the same packet is also handed to the loopback
interface, which it can't leave: a filter of addresses refuses it there too (EPERM).
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator
from functools import partial

from local_opus.runtime.tries import Tried, Try, allowed, name_of, refused, untold
from local_opus.values.sandbox import ProbeKind

#: TEST-NET-1 and the documentation prefix; the port is that of discard (RFC 863).
_ADDRESSES = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_DISCARD = 9
_DNS = 53
#: Seconds for an answer of the network. Nobody answers; a filter does at once.
_SECONDS = 0.3
#: What a filter of the control group's answers (IPAddressDeny=).
_FILTERED = {errno.EPERM, errno.EACCES}
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN}
#: The socket families of a filter that is RestrictAddressFamilies= (systemd.exec(5)).
_FAMILIES = "RestrictAddressFamilies"
_BUS = "/run/dbus/system_bus_socket"
_RESOLVE = "/run/systemd/resolve/io.systemd.Resolve"
#: Ids of the tries that are counted as egress.
FILTER = "reach-filter"
EGRESS = ("reach-tcp", "reach-udp", "reach-tcp6", "reach-udp6")


def interfaces() -> tuple[str, ...]:
    """Return the interfaces of this process's network namespace."""
    with open("/proc/self/net/dev", encoding="utf-8") as stream:
        lines = stream.read().splitlines()[2:]
    return tuple(sorted(line.partition(":")[0].strip() for line in lines))


def packets_without_route() -> int | None:
    """Return how many packets found no way out of this network namespace, IPv4 and IPv6."""
    found = 0
    try:
        with open("/proc/self/net/snmp", encoding="utf-8") as stream:
            names, values = [line.split()[1:] for line in stream if line.startswith("Ip:")]
        found += int(dict(zip(names, values, strict=True)).get("OutNoRoutes", 0))
        with open("/proc/self/net/snmp6", encoding="utf-8") as stream:
            pairs = dict(line.split()[:2] for line in stream)
        found += int(pairs.get("Ip6OutNoRoutes", 0))
    except FileNotFoundError:  # a kernel without IPv6
        return found
    except (OSError, ValueError):
        return None
    return found


def reaches() -> Iterator[Try]:
    """Yield the tries."""
    out = "IPAddressDeny=any, or PrivateNetwork=yes"
    reach = ProbeKind.REACH
    for kind, word in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        for family, suffix in ((socket.AF_INET, ""), (socket.AF_INET6, "6")):
            where = f"{word.upper()} to {_ADDRESSES[family]}"
            yield Try(f"reach-{word}{suffix}", reach, where, out, partial(_egress, family, kind))
    # Who has lo alone in a network of its own needs no filter.
    needed = None if set(interfaces()) <= {"lo"} else False
    yield Try(FILTER, reach, "another's address, on lo alone", out,
              partial(_filter, socket.AF_INET), needed)  # fmt: skip
    for name, what, directive, family, protocol in (
        ("netlink", "the kernel's netlink", _FAMILIES, socket.AF_NETLINK, 0),
        ("packet", "raw packets of an interface", _FAMILIES, socket.AF_PACKET, 0),
        ("raw", "raw IP", "CapabilityBoundingSet=", socket.AF_INET, socket.IPPROTO_ICMP),
    ):
        do = partial(_socket, family, socket.SOCK_RAW, protocol)
        yield Try(f"reach-{name}", reach, what, directive, do)
    yield Try("reach-vsock", reach, "the virtual machine's host", _FAMILIES,
              partial(_socket, socket.AF_VSOCK, socket.SOCK_STREAM, 0))  # fmt: skip
    for name, what, path in (
        ("bus", "the system's D-Bus", _BUS),
        ("resolver", "the resolver's socket", _RESOLVE),
        ("user-bus", "the user's D-Bus", f"/run/user/{os.getuid()}/bus"),
    ):
        yield Try(f"reach-{name}", reach, what, f"InaccessiblePaths={path}", partial(_unix, path))
    private = "PrivateNetwork=yes"
    yield Try("reach-dns", reach, "a name server on loopback", private, _dns, expected=None)
    yield Try("reach-abstract", reach, "sockets of others without a file", private, _abstract,
              expected=None)  # fmt: skip


def _socket(family: int, kind: int, protocol: int) -> Tried:
    try:
        socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol).close()
    except OSError as error:
        # The filter's own error for a family is EAFNOSUPPORT, as a kernel's that has none.
        return refused(name_of(error.errno or 0))
    return allowed("a socket was made, and closed")


def _egress(family: int, kind: int) -> Tried:
    try:
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    except OSError as error:
        return refused(f"{name_of(error.errno or 0)}: no such socket")
    with sock:
        code = _send(sock, family)
    if code in _FILTERED:
        return refused(f"{name_of(code)}: a filter refuses the address")
    if code not in {*_NO_ROUTE, errno.EINPROGRESS}:
        return allowed("it was sent" if code == 0 else f"{name_of(code)}: it was sent")
    said = "ENETUNREACH: no route" if code in _NO_ROUTE else "no answer"
    # A filter drops TCP's packets without a word; of UDP's it tells.
    for how, found in (("by UDP", _filter(family, on_lo=False)), ("on lo", _filter(family))):
        if found.allowed is False:
            return refused(f"{said}; {how} {found.evidence}")
    if set(interfaces()) <= {"lo"}:
        return refused(f"{said}; there is no interface but lo")
    if code == errno.EINPROGRESS:
        return allowed("no answer, and no filter refuses it")
    return untold(f"{said}, which proves no refusal, and no filter refuses it")


def _send(sock: socket.socket, family: int) -> int:
    """Try to send to a host that is nobody; return an errno, 0: it was sent."""
    address = (_ADDRESSES[socket.AddressFamily(family)], _DISCARD)
    if sock.type == socket.SOCK_DGRAM:
        try:
            sock.sendto(b"", address)
        except OSError as error:
            return error.errno or 0
        return 0
    code = sock.connect_ex(address)
    if code != errno.EINPROGRESS:
        return code
    _, ready, _ = select.select([], [sock], [], _SECONDS)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else code


def _filter(family: int, *, on_lo: bool = True) -> Tried:
    """Hand a packet for another host to lo, which it can't leave, to see a filter refuse it.

    ``on_lo`` false: to whichever interface it is routed to.
    """
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        return refused(name_of(error.errno or 0))
    with sock:
        try:
            if on_lo:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        except OSError as error:  # Linux before 5.7 lets only root bind
            return untold(f"it can't be bound to lo: {name_of(error.errno or 0)}")
        code = _send(sock, family)
    if code in _FILTERED:
        return refused(f"{name_of(code)}: a filter refuses the address")
    return allowed("no filter refuses it") if code == 0 else untold(name_of(code))


def _unix(path: str) -> Tried:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(path)
    return allowed("connected, and closed")


def _dns() -> Tried:
    """Connect to the name servers of resolv.conf(5) that are on loopback; ask nothing."""
    with open("/etc/resolv.conf", encoding="utf-8") as stream:
        words = [line.split() for line in stream]
    servers = [line[1] for line in words if line[:1] == ["nameserver"] and len(line) > 1]
    near = [server for server in servers if server.startswith("127.") or server == "::1"]
    if not near:
        return untold("resolv.conf names none")
    said = ""
    for server in near:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(_SECONDS)
                sock.connect((server, _DNS))
        except OSError as error:
            said = f"{server}: {name_of(error.errno or 0)}"
            continue
        return allowed(f"{server}: connected, and closed: names can be asked for")
    return refused(said)


def _abstract() -> Tried:
    with open("/proc/self/net/unix", encoding="utf-8", errors="replace") as stream:
        names = {line.split()[7] for line in stream if len(line.split()) > 7}  # noqa: PLR2004
    found = sum(name.startswith("@") for name in names)
    return allowed(f"{found} are visible") if found else refused("none is visible")
