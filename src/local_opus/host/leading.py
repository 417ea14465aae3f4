"""Where a server may lead this machine: to https hosts with a public address.

A hub, or who plays one, could else have this machine ask the routers and metadata services of its
own network. Hosts that the user configured are exempt.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import suppress
from socket import SOCK_STREAM, getaddrinfo, socket
from urllib.parse import SplitResult, urljoin, urlsplit

#: Names of this machine.
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_closed_way(url: str) -> bool:
    """Whether nobody on the way reads what is sent: over https, or within this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in _LOOPBACK


class DownloadError(Exception):
    """The server could not be reached, or the connection broke; the text is one line."""


class UnreachableError(DownloadError):
    """No connection came about: there is no network, no such host, or nothing listens there."""


#: What a person who knows the host may do.
_ALLOW = "to allow it, name it in LOCAL_OPUS_TRUSTED_HOSTS"


class RefusedHostError(DownloadError):
    """A redirect leads where this program does not go."""


class TrustedHosts:
    """Host names that the user configured; threads may share it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in names)

    def __contains__(self, host: str) -> bool:
        return host.strip("[]").lower() in self._names

    def allowed(self, url: str, target: str, origin: SplitResult) -> str:
        """Return where a redirect of ``url`` leads.

        Raises RefusedHostError for anything but https, where the origin and the target are not
        hosts that the user configured, the origin without https.
        """
        try:
            url = urljoin(url, target)
            parts = urlsplit(url)
        except ValueError as error:
            raise RefusedHostError("it redirects to what is no address") from error
        name = (parts.hostname or "").lower()
        if parts.username or parts.password:
            raise RefusedHostError(f"it redirects to {name} with a name and a password")
        if parts.scheme == "https" and name:
            return url
        hosts = {name, (origin.hostname or "").lower()}
        if parts.scheme == origin.scheme == "http" and hosts <= self._names:
            return url
        plain = f"it redirects to {parts.scheme}://{name}, which is not https"
        if parts.scheme == origin.scheme == "http":
            raise RefusedHostError(f"{plain}; {_ALLOW}")
        raise RefusedHostError(plain)

    def look_up(self, host: str, port: int) -> None:
        """Look where a connection would lead before it is made. Raises RefusedHostError."""
        if host in self:
            return
        with suppress(OSError, UnicodeError):  # the connection itself says what is wrong
            found = getaddrinfo(host.strip("[]"), port, type=SOCK_STREAM)
            addresses = [str(entry[4][0]) for entry in found]
            if addresses and not any(is_public(address) for address in addresses):
                raise _private(host, addresses[0])

    def look_at(self, host: str, sock: socket) -> None:
        """Look at a new connection to ``host``. Raises RefusedHostError.

        A name that led elsewhere a moment ago may lead to a private address now.
        """
        address = str(sock.getpeername()[0])
        if host not in self and not is_public(address):
            raise _private(host, address)


def _private(host: str, address: str) -> RefusedHostError:
    return RefusedHostError(f"{host} has the private address {address}; {_ALLOW}")


def is_public(text: str) -> bool:
    """Whether an address belongs to no private network, and not to this machine."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_global)
