"""Encryption by systemd: systemd-creds(1), bound to this machine.

Its key is one that systemd makes for the machine, together with the TPM where there is one. No
PCR is bound: an update of the firmware would else lock the node out.
"""

from __future__ import annotations

import re

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Scope

#: The machine's key for credentials; ``systemd-creds setup`` makes it, and nothing removes it.
HOST_KEY = "/var/lib/systemd/credential.secret"
#: The first systemd that has encrypted credentials, for the system and for a user's own services.
FIRST = {Scope.SYSTEM: 250, Scope.USER: 256}
_TOOL = "systemd-creds"
_SECONDS = 30.0


def problem(host: Host, scope: Scope) -> str | None:
    """Say why systemd can't encrypt for services of this scope; None: as far as is known it can."""
    if not host.services.running(scope):
        return "no systemd runs here"
    try:
        done = host.processes.run([_TOOL, "--version"], timeout=_SECONDS)
    except LocalOpusError:
        return f"{_TOOL} is not installed"
    found = re.match(r"systemd (\d+)", done.out)
    if done.code != 0 or found is None:
        return f"{_TOOL} does not work here: {done.last_line}"
    if int(found[1]) < FIRST[scope]:
        whose = "a user's services" if scope is Scope.USER else "services"
        return f"systemd {found[1]} encrypts nothing for {whose}; {FIRST[scope]} does"
    return None


def seal(host: Host, scope: Scope, name: str, data: bytes) -> bytes:
    """Return ``data`` encrypted as the credential ``name``; it was seen to open again.

    Raises LocalOpusError where systemd can't.
    """
    sealed = _call(host, scope, data, "encrypt", f"--name={name}", "--tpm2-pcrs=", "-", "-")
    if unseal(host, scope, name, sealed) != data:
        raise LocalOpusError(
            f"{_TOOL}: what it encrypted as {name} does not open again", "See its manual page."
        )
    return sealed


def unseal(host: Host, scope: Scope, name: str, sealed: bytes) -> bytes:
    """Return what was encrypted as the credential ``name``. Raises LocalOpusError."""
    return _call(host, scope, sealed, "decrypt", f"--name={name}", "-", "-")


def _call(host: Host, scope: Scope, given: bytes, *words: str) -> bytes:
    verb, *rest = words
    user = ["--user"] if scope is Scope.USER else []
    done = host.processes.run([_TOOL, verb, *user, *rest], timeout=_SECONDS, input=given)
    if done.code != 0:
        raise LocalOpusError(f"{_TOOL} {verb}: {done.last_line}", "See `man systemd-creds`.")
    return done.out.encode()
