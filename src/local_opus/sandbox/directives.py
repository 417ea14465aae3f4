"""Which settings of a unit make up its sandbox, and when one of a drop-in opens it. Pure.

The values are those of systemd.exec(5), systemd.resource-control(5) and systemd.syntax(7).
"""

from __future__ import annotations

from collections.abc import Callable

_NO = {"no", "false", "off", "0", "n", "f", ""}
#: What any unit of this project may use: accelerators, and the pseudo devices that are always open.
_DEVICES = {"char-drm", "char-accel", "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
            "/dev/urandom"}  # fmt: skip
#: The accelerators' own groups (udev's rules), and the one that reads configs and weights.
_GROUPS = {"render", "video", "local-opus"}
_LOOPBACK = {"localhost", "127.0.0.0/8", "::1/128", "127.0.0.1", "127.0.0.1/32", "::1"}


def _switched_off(value: str) -> bool:
    return value.casefold() in _NO


def _less_than(strictest: str) -> Callable[[str], bool]:
    return lambda value: value.casefold() != strictest


def _beyond(known: set[str]) -> Callable[[str], bool]:
    return lambda value: any(word not in known for word in value.split())


def _device_beyond(value: str) -> bool:
    return bool(value) and value.split(maxsplit=1)[0] not in _DEVICES


def _emptied(value: str) -> bool:
    return value == ""


def _given(value: str) -> bool:
    return value != ""


def _emptied_or_more(value: str) -> bool:
    """A list of what is allowed: an empty value drops it, a word adds to it, ``~`` takes away."""
    return not value.startswith("~")


def _capabilities(value: str) -> bool:
    """``~`` alone gives them all, and with names all but these."""
    return value != ""


def _families(value: str) -> bool:
    return value == "" or (not value.startswith("~") and value != "none")


def _namespaces(value: str) -> bool:
    """Yes forbids all; a list is of those that are allowed, of those refused with ``~``."""
    return value.casefold() not in {"yes", "true", "on", "1"}


def _user(value: str) -> bool:
    return value in {"root", "0"}


def _privileged_command(value: str) -> bool:
    """The prefixes that run it with more rights than the unit has (systemd.service(5))."""
    return any(sign in value[: len(value) - len(value.lstrip("@-:+!|"))] for sign in "+!")


_BOOLEANS = (
    "DynamicUser", "LockPersonality", "MountAPIVFS", "NoNewPrivileges", "PrivateDevices",
    "PrivateIPC", "PrivateMounts", "PrivateNetwork", "PrivateUsers", "ProtectClock",
    "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules",
    "ProtectKernelTunables", "RemoveIPC", "RestrictRealtime", "RestrictSUIDSGID",
)  # fmt: skip
#: Name of each setting of the sandbox, and whether a value opens it.
_OPENS: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(_BOOLEANS, _switched_off),
    "AmbientCapabilities": _capabilities,
    "BindPaths": _given,
    "CapabilityBoundingSet": _capabilities,
    "DeviceAllow": _device_beyond,
    "DevicePolicy": lambda value: value not in {"closed", "strict"},
    "ExecStart": _privileged_command,
    "ExecStartPost": _privileged_command,
    "ExecStartPre": _privileged_command,
    "Group": _user,
    "IPAddressAllow": _beyond(_LOOPBACK),
    "IPAddressDeny": _emptied,
    "InaccessiblePaths": _emptied,
    "JoinsNamespaceOf": _given,
    "NetworkNamespacePath": _given,
    "PrivateTmp": _switched_off,
    "ProcSubset": lambda _: False,
    "ProtectHome": lambda value: value.casefold() in {*_NO, "read-only"},
    "ProtectProc": _less_than("invisible"),
    "ProtectSystem": _less_than("strict"),
    "ReadWritePaths": _given,
    "RestrictAddressFamilies": _families,
    "RestrictNamespaces": _namespaces,
    "RootDirectoryStartOnly": lambda value: not _switched_off(value),
    "SupplementaryGroups": _beyond(_GROUPS),
    "SystemCallArchitectures": lambda value: value != "native",
    "SystemCallFilter": _emptied_or_more,
    "SystemCallLog": lambda _: False,
    "User": _user,
}
#: What is not in them is closed, so any word closes all others.
_ALLOW_LISTS = {"RestrictAddressFamilies", "SystemCallFilter"}


def opens(name: str, value: str) -> bool:
    """Whether a value that a drop-in gives opens the sandbox of the unit as we write it."""
    judge = _OPENS.get(name)
    return judge is not None and judge(value)


def closes(name: str, value: str) -> bool:
    """Whether a value that the unit itself gives closes something."""
    if name in _ALLOW_LISTS:
        return value != ""
    return name in _OPENS and not opens(name, value)


def name_of(directive: str) -> str:
    """Return the name in the words of a probe: ``ProtectSystem=strict`` is of ProtectSystem."""
    return directive.partition("=")[0].strip()
