"""The operating system: os-release(5), the kernel, process 1, sd_booted(3), the container."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from local_opus.facts import reading
from local_opus.host import Host
from local_opus.values import OsFacts

#: Files that a container manager leaves in its containers, and its name.
_MARKS = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
#: What a backslash escapes between double quotes, as in a shell.
_ESCAPED = re.compile(r'\\(["$`\\])')


@dataclass(frozen=True)
class Raw:
    """The texts, None where a file is missing; ``container_marks`` are the marks that exist."""

    os_release: str | None
    kernel: str | None
    init: str | None
    systemd_folder: bool
    systemd_container: str | None
    container_marks: tuple[str, ...]
    init_environment: str | None


def read(host: Host) -> Raw:
    """Read what says which system runs, and what runs it."""
    release = reading.text(host, "/etc/os-release")
    marks = tuple(path for path in _MARKS if reading.exists(host, path))
    kernel = reading.text(host, "/proc/sys/kernel/osrelease")
    return Raw(
        # os-release(5): /etc first, then /usr/lib.
        os_release=release if release is not None else reading.text(host, "/usr/lib/os-release"),
        kernel=host.kernel.release() if kernel is None else kernel,
        init=reading.text(host, "/proc/1/comm"),
        systemd_folder=reading.exists(host, "/run/systemd/system"),
        systemd_container=reading.text(host, "/run/systemd/container"),
        container_marks=marks,
        init_environment=reading.text(host, "/proc/1/environ"),
    )


def parse(raw: Raw) -> OsFacts:
    """Return the facts; what os-release leaves out has the defaults of os-release(5)."""
    release = _release(raw.os_release or "")
    kernel = _clean(raw.kernel)
    return OsFacts(
        id=release.get("ID") or "linux",
        version=release.get("VERSION_ID", ""),
        name=release.get("PRETTY_NAME") or release.get("NAME") or "Linux",
        kernel=kernel,
        init=_clean(raw.init),
        systemd_running=raw.systemd_folder,
        container=_container(raw, kernel),
        python=".".join(str(part) for part in sys.version_info[:3]),
    )


def _clean(text: str | None) -> str:
    return "".join(letter for letter in (text or "").strip() if letter.isprintable())


def _release(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or not name.isidentifier():
            continue
        found[name] = _clean(_unquote(value))
    return found


def _unquote(value: str) -> str:
    quote = value[:1]
    if quote not in {'"', "'"}:
        return value
    inside = value[1:].removesuffix(quote)
    return inside if quote == "'" else _ESCAPED.sub(r"\1", inside)


def _container(raw: Raw, kernel: str) -> str | None:
    if said := _clean(raw.systemd_container):
        return said
    for variable in (raw.init_environment or "").split("\0"):
        if variable.startswith("container=") and (said := _clean(variable[len("container=") :])):
            return said
    if raw.container_marks:
        return _MARKS.get(raw.container_marks[0], raw.container_marks[0])
    # systemd-detect-virt(1) counts WSL as a container and knows it by its kernel's name.
    return "wsl" if "microsoft" in kernel.casefold() or "WSL" in kernel else None
