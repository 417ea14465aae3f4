"""What a user's systemd does with the directives of a sandbox, as it was measured."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from local_opus.values.base import Value

#: Directives that take effect by system call filters, no-new-privileges and limits alone: what any
#: user may do to himself. Every unit has them.
FILTERS: Mapping[str, str] = {
    "NoNewPrivileges": "yes",
    "LockPersonality": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "~@obsolete",
}
#: Directives that want privileges which a user's systemd has in a user namespace at most. A unit
#: of a user gets those that were seen to take effect.
PRIVILEGED: Mapping[str, str] = {
    "PrivateUsers": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "tmpfs",
    "PrivateTmp": "yes",
    "PrivateMounts": "yes",
    "PrivateDevices": "yes",
    "PrivateIPC": "yes",
    "PrivateNetwork": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectProc": "invisible",
    "IPAddressDeny": "any",
    "DevicePolicy": "strict",
    "TasksMax": "4096",
}
#: The folders that ProtectHome= hides (systemd.exec(5)).
HIDDEN = ("/home/", "/root/", "/run/user/")
#: Directives of the system's unit that exist for the system's systemd alone (systemd.exec(5)).
SYSTEM_ONLY = ("DynamicUser", "RemoveIPC")


class UserManager(Value):
    """One user's systemd; ``enforced`` are the directives that were seen to take effect together.

    ``sandboxed``: a service that is hidden its user's home still reaches systemd, to say that it is
    ready.
    """

    version: str = Field(description="of the user's systemd, as it says itself")
    enforced: tuple[str, ...] = ()
    not_enforced: tuple[str, ...] = (*FILTERS, *PRIVILEGED, *SYSTEM_ONLY)
    sandboxed: bool = False
    problem: str | None = Field(default=None, description="why nothing could be measured")
