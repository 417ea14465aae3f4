"""Packages of the accelerators' drivers: what dpkg and pacman wrote down as text.

The database of rpm is binary, and no program is run for it: there the files' own names tell the
versions of libraries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.facts import reading
from local_opus.host import Host

#: Debian and Ubuntu, Intel's own debs, Arch.
NAMES = frozenset({
    "libze1", "level-zero", "level-zero-loader", "libze-intel-gpu1", "intel-level-zero-gpu",
    "intel-level-zero-npu", "intel-driver-compiler-npu", "intel-fw-npu", "intel-npu-driver",
    "intel-npu-compiler", "intel-opencl-icd", "intel-compute-runtime", "ocl-icd-libopencl1",
    "ocl-icd", "libigdgmm12", "intel-gmmlib", "libigc1", "libigc2", "libigdfcl1", "libigdfcl2",
    "intel-igc-core", "intel-igc-core-2", "intel-igc-opencl", "intel-igc-opencl-2",
    "intel-graphics-compiler", "libtbb12", "onetbb", "clinfo", "linux-firmware",
    "linux-firmware-intel", "firmware-intel-graphics", "firmware-misc-nonfree",
})  # fmt: skip
DPKG = "/var/lib/dpkg/status"
PACMAN = "/var/lib/pacman/local"
_INSTALLED = re.compile(r"^Status: \S+ \S+ installed\s*$", re.MULTILINE)
_VERSION = re.compile(r"^Version: (\S+)\s*$", re.MULTILINE)
#: A folder of pacman's: name, version (with its epoch), release.
_FOLDER = re.compile(r"(.+)-([^-]+-[^-]+)")


@dataclass(frozen=True)
class Raw:
    """Text of dpkg's status, and names of pacman's folders."""

    dpkg: str | None
    pacman: tuple[str, ...]


def read(host: Host) -> Raw:
    """Read the lists of packages."""
    return Raw(reading.text(host, DPKG), reading.names(host, PACMAN))


def parse(raw: Raw) -> dict[str, str]:
    """Return the versions of the packages that are installed, by name."""
    found = {}
    for name, paragraph in paragraphs(raw.dpkg or ""):
        version = _VERSION.search(paragraph)
        if version is not None and _INSTALLED.search(paragraph):
            found[name] = version[1]
    for folder in raw.pacman:
        parts = _FOLDER.fullmatch(folder)
        if parts is not None and parts[1] in NAMES:
            found[parts[1]] = parts[2]
    return dict(sorted(found.items()))


def paragraphs(status: str) -> list[tuple[str, str]]:
    """Return the packages of ours in dpkg's status: name and paragraph."""
    found = []
    for paragraph in status.split("\n\n"):
        first = paragraph.lstrip("\n").partition("\n")[0]
        name = first.removeprefix("Package: ").strip()
        if first.startswith("Package: ") and name in NAMES:
            found.append((name, paragraph))
    return found
