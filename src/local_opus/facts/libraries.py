"""Libraries of the accelerators' user space, where the loader and the drivers look for them.

LD_LIBRARY_PATH is left out on purpose: neither the workers nor the server's service are started
with it (they get a clean environment), so what only it leads to is not there for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.facts import reading
from local_opus.host import Host
from local_opus.values import LibraryFacts

#: By soname, with the packages whose version is the library's where its file tells none.
LIBRARIES = {
    "libze_loader.so.1": ("libze1", "level-zero", "level-zero-loader"),
    "libze_intel_npu.so.1": ("intel-level-zero-npu", "intel-npu-driver"),
    "libze_intel_vpu.so.1": (),  # the name before 1.16: a stale one beside the new one does harm
    "libnpu_driver_compiler.so": ("intel-driver-compiler-npu", "intel-npu-compiler"),
    "libze_intel_gpu.so.1": ("libze-intel-gpu1", "intel-level-zero-gpu", "intel-compute-runtime"),
    "libOpenCL.so.1": ("ocl-icd-libopencl1", "ocl-icd"),
    "libigdrcl.so": ("intel-opencl-icd", "intel-compute-runtime"),
    "libigdgmm.so.12": ("libigdgmm12", "intel-gmmlib"),
    "libigc.so.2": ("libigc2", "intel-igc-core-2", "intel-graphics-compiler"),
    "libtbb.so.12": ("libtbb12", "onetbb"),
}
#: Debian's folders, those of the 64-bit distributions, and NixOS's for drivers.
_FOLDERS = ("/usr/local/lib/x86_64-linux-gnu", "/usr/local/lib", "/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
            "/run/opengl-driver/lib")  # fmt: skip
#: Below these, the driver's own folder: its library is named by the file for OpenCL, not searched.
_DRIVER_FOLDER = "intel-opencl"
_OWN_FOLDER = frozenset({"libigdrcl.so"})
_LOADER_FILE = "/etc/ld.so.conf"
LOADER_FOLDER = "/etc/ld.so.conf.d"
#: Links from a soname to its file: a package makes one or two.
_MAX_LINKS = 8
_VERSION = re.compile(r"\.so\.(\d+(?:\.\d+)+)$", re.ASCII)
_ICD_FOLDERS = ("/etc/OpenCL/vendors", "/etc/level_zero/icd.d")


@dataclass(frozen=True)
class RawLibrary:
    """Where a library is, and the name of the file that the links of its soname end at."""

    path: str
    file: str


@dataclass(frozen=True)
class Raw:
    """The libraries that were found, by soname; the files for OpenCL and Level Zero, by path."""

    libraries: dict[str, RawLibrary]
    icds: dict[str, str]


def read(host: Host) -> Raw:
    """Search the libraries and read the files that name drivers."""
    folders = _folders(host)
    found = {}
    for soname in LIBRARIES:
        inner = [f"{folder}/{_DRIVER_FOLDER}" for folder in folders if soname in _OWN_FOLDER]
        for folder in (*inner, *folders):
            if reading.exists(host, path := f"{folder}/{soname}"):
                found[soname] = RawLibrary(path, _file(host, path))
                break
    icds = {f"{folder}/{name}": text for folder in _ICD_FOLDERS
            for name in reading.names(host, folder) if name.endswith(".icd")
            and (text := reading.text(host, f"{folder}/{name}")) is not None}  # fmt: skip
    return Raw(found, icds)


def _folders(host: Host) -> list[str]:
    names = (name for name in reading.names(host, LOADER_FOLDER) if name.endswith(".conf"))
    files = (_LOADER_FILE, *(f"{LOADER_FOLDER}/{name}" for name in names))
    texts = [reading.text(host, path) or "" for path in files]
    lines = [line.strip().rstrip("/") for text in texts for line in text.splitlines()]
    return list(dict.fromkeys([*(line for line in lines if line.startswith("/")), *_FOLDERS]))


def _file(host: Host, path: str) -> str:
    for _ in range(_MAX_LINKS):
        try:
            target = host.files.read_link(path)
        except OSError:  # no link: the file itself
            break
        path = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
    return path.rpartition("/")[2]


def parse(raw: Raw, packages: dict[str, str]) -> dict[str, LibraryFacts | None]:
    """Return each library with its version: that of its file, else that of its package."""
    found: dict[str, LibraryFacts | None] = {}
    for soname, names in LIBRARIES.items():
        library = raw.libraries.get(soname)
        if library is None:
            found[soname] = None
            continue
        told = _VERSION.search(library.file)
        packaged = (packages[name] for name in names if name in packages)
        version = told[1] if told else next(packaged, None)
        found[soname] = LibraryFacts(path=library.path, version=version)
    return found


def parse_icds(raw: Raw) -> dict[str, str]:
    """Return the library that each file names; one that names none is left out."""
    found = {}
    for path, text in sorted(raw.icds.items()):
        lines = [line.strip() for line in text.splitlines()]
        named = next((line for line in lines if line and not line.startswith("#")), "")
        if named.isprintable() and named:
            found[path] = named
    return found
