"""What is in force where this runs: for each directive of a sandbox, a question to the kernel.

A bare interpreter runs it inside a transient unit and is given the text on standard input, so it
imports the standard library alone. Its argument is what the world outside looks like, as JSON:
``{"namespaces": {"mnt": "mnt:[1]", ...}, "folders": {"/tmp": [device, inode], ...}, "home": path,
"tasks": number}``; it prints ``{directive: whether it takes effect, ..., "notify": bool}``.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
from collections.abc import Callable

# Numbers of capability.h and of personality(2), unshare(2).
_SYS_MODULE, _SYS_TIME, _SYSLOG = 16, 25, 34
_PER_LINUX32 = 0x0008
_CLONE_NEWUTS = 0x04000000
_SUID = 0o4700
_MODULES = "/usr/lib/modules"
#: Seconds until a packet to oneself counts as stopped.
_SECONDS = 0.3


def _status() -> dict[str, str]:
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        pairs = (line.partition(":") for line in stream)
        return {name: value.strip() for name, _, value in pairs}


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except OSError:
        return True
    return False


def _device_refused(path: str) -> bool:
    """Whether a device is closed by its control group: EPERM; by its own mode it is EACCES."""
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _call(name: str, *words: int) -> None:
    """Call a function of libc; raises OSError where it returns -1."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*words) == -1:
        raise OSError(ctypes.get_errno(), name)


def _obsolete() -> bool:
    """Whether ustat(2), of the filter's group @obsolete, is refused: EPERM, else EINVAL."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 136}.get(os.uname().machine)
    if number is None:
        return _status()["Seccomp"] == "2"
    libc.syscall(number, 0, 0)
    return ctypes.get_errno() == 1


def _suid() -> None:
    descriptor = os.memfd_create("suid")
    try:
        os.fchmod(descriptor, _SUID)
    finally:
        os.close(descriptor)


def _loopback() -> bool:
    """Whether a packet to this machine itself is stopped: none leaves it either way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(_SECONDS)
        try:
            one.bind(("127.0.0.1", 0))
            one.sendto(b"x", one.getsockname())
            one.recv(1)
        except (PermissionError, TimeoutError):
            return True
        except OSError:
            return False
    return False


def _read_only(path: str) -> bool:
    return not os.path.exists(path) or bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _tasks(wanted: int) -> bool:
    with open("/proc/self/cgroup", encoding="utf-8") as stream:
        own = [line.strip()[3:] for line in stream if line.startswith("0::")]
    try:
        with open(f"/sys/fs/cgroup{own[0]}/pids.max", encoding="ascii") as stream:
            return stream.read().strip() == str(wanted)
    except (OSError, IndexError):
        return False


def _notify() -> bool:
    """Whether what says that a service is ready can be reached."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        return bool(name) and not _refused(lambda: one.sendto(b"STATUS=looking", name))


def look(outside: dict[str, dict[str, object]], home: str, tasks: int) -> dict[str, bool]:
    """Return which directives take effect here."""
    status = _status()
    bounding = int(status["CapBnd"], 16)

    def apart(kind: str) -> bool:
        return os.readlink(f"/proc/self/ns/{kind}") != outside["namespaces"][kind]

    def replaced(path: str) -> bool:
        try:
            found = os.stat(path)
        except OSError:
            return True
        return [found.st_dev, found.st_ino] != outside["folders"].get(path)

    def lacks(capability: int) -> bool:
        return not bounding >> capability & 1

    personality = _refused(lambda: _call("personality", _PER_LINUX32))
    return {
        "NoNewPrivileges": status["NoNewPrivs"] == "1",
        "LockPersonality": personality,
        "RestrictAddressFamilies": _refused(
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
        ),
        "RestrictNamespaces": _refused(lambda: _call("unshare", _CLONE_NEWUTS)),
        # A user without rights is refused it anyway; it is a filter as the others are.
        "RestrictRealtime": personality,
        "RestrictSUIDSGID": _refused(_suid),
        "SystemCallArchitectures": personality,
        "SystemCallFilter": _obsolete(),
        "PrivateUsers": apart("user"),
        "CapabilityBoundingSet": bounding == 0,
        "ProtectSystem": all(_read_only(path) for path in ("/", "/usr", "/etc")),
        "ProtectHome": replaced(home),
        "PrivateTmp": replaced("/tmp"),  # noqa: S108 - the folder that is to be another one
        "PrivateMounts": apart("mnt"),
        "PrivateDevices": replaced("/dev"),
        "PrivateIPC": apart("ipc"),
        "PrivateNetwork": apart("net"),
        "ProtectKernelTunables": _read_only("/proc/sys") and _read_only("/sys"),
        "ProtectKernelModules": lacks(_SYS_MODULE) and _refused(lambda: os.listdir(_MODULES)),
        "ProtectKernelLogs": lacks(_SYSLOG) and _refused(lambda: open("/dev/kmsg", "rb").close()),
        "ProtectControlGroups": _read_only("/sys/fs/cgroup"),
        "ProtectClock": lacks(_SYS_TIME),
        "ProtectHostname": apart("uts"),
        "ProtectProc": not os.path.exists("/proc/1"),
        "IPAddressDeny": _loopback(),
        "DevicePolicy": _device_refused("/dev/zero"),
        "TasksMax": _tasks(tasks),
        "notify": _notify(),
    }


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    found = look(given, given["home"], given["tasks"])
    os.write(1, json.dumps(found).encode())
