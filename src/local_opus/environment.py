"""How every Python environment of this project is made: the commands, and what a failure means.

It runs nothing and is of the standard library alone: the bootstrap runs these commands before any
package is there, and the action that makes the installed environment runs them through ``host``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress

from local_opus import clock
from local_opus.errors import BadInputError, LocalOpusError, MachineCannotError

#: Settings of pip that move the install elsewhere, change what is installed, or hide its words.
#: All others (index, mirror, proxy, certificate, cache, timeout) stay in force.
_PIP_REDIRECTS = frozenset(
    {
        *("PIP_ABI", "PIP_CONSTRAINT", "PIP_DRY_RUN", "PIP_EDITABLE", "PIP_FORCE_REINSTALL"),
        *("PIP_GROUP", "PIP_IGNORE_INSTALLED", "PIP_IMPLEMENTATION", "PIP_LOG", "PIP_NO_BINARY"),
        *("PIP_NO_DEPS", "PIP_ONLY_BINARY", "PIP_PLATFORM", "PIP_PREFIX", "PIP_PYTHON"),
        *("PIP_PYTHON_VERSION", "PIP_QUIET", "PIP_REPORT", "PIP_REQUIREMENT", "PIP_ROOT"),
        *("PIP_SRC", "PIP_TARGET", "PIP_UPGRADE", "PIP_USER", "PIP_VERBOSE"),
    }
)
#: Bytes that making an environment takes of the disk, by its lock: the measured peak and a tenth.
#: At the peak the wheels lie beside what came out of them: 62, 353 and 360 MiB by du on ext4, with
#: Python 3.11 on x86-64. What stays is less, with its byte code: 75, 304 and 327 MiB.
ROOM = {
    "requirements.lock": 82 * 2**20,
    "requirements-openvino.lock": 390 * 2**20,
    "requirements-server.lock": 400 * 2**20,
}
_TAKEN = re.compile(r"^(?:Collecting|Processing) ", re.MULTILINE)
_FULL_BYTES = 1_000_000
_NO_SPACE = re.compile(r"Errno 28\]|Errno 122\]|No space left on device|Disk quota exceeded")
_BAD_HASH = re.compile(r"PACKAGES DO NOT MATCH THE HASHES.*?\n\s+(\S+)", re.DOTALL)
_BAD_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError")
_NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|Max retries exceeded|Connection refused"
    r"|Network is unreachable|Temporary failure in name resolution|ReadTimeoutError"
    r"|ConnectTimeoutError|ProxyError|IncompleteRead|ProtocolError|RemoteDisconnected"
)
_HOST = re.compile(r"host='([^']+)'|Looking in indexes: \w+://(?:[^/@\s]*@)?([^/,\s]+)")
_NO_WHEEL = re.compile(r"No matching distribution found for ([^\s(]+)")
_SEPARATOR = re.compile(r"Refusing to create a venv in (.+) because it contains the PATH separator")
_NO_ENSUREPIP = re.compile(r"ensurepip is not available|No module named '?(?:ensurepip|venv)\b")

#: ``python -m compileall``, but its pool does not outlive it.
_COMPILE = """
import compileall, os, sys
from local_opus.children import dies_with_me
os.register_at_fork(after_in_child=dies_with_me())
sys.exit(not compileall.main())
"""
_DEBIAN_WHEELS = "/usr/share/python-wheels"


def venv_command(python: str, folder: str, *, with_pip: bool = True) -> list[str]:
    """Return the command that makes an empty environment in ``folder``.

    ``with_pip=False`` saves some seconds where ``install_command`` has another pip to use.
    """
    return [python, "-I", "-m", "venv", *([] if with_pip else ["--without-pip"]), folder]


def install_command(python: str, lock: str, *, pip: str | None = None) -> list[str]:
    """Return the command that installs a lock with the pip of ``python``.

    ``pip`` is the path of another pip to use instead of its own. Byte code is left
    out: it takes a third of the time, and Python writes what is used at its first use; for an
    environment that its user can't write, run ``compile_command`` afterwards.
    """
    return [python, "-I", *((pip,) if pip is not None else ("-m", "pip")), *_install(lock)]


def install_into_command(python: str, lock: str) -> list[str]:
    """Return the command that installs a lock into the environment of ``python`` with our own pip.

    That environment needs no pip. The same as ``pip --python``, but in one process: there, pip
    starts the other Python as a child, which would go on writing after whoever started pip was
    killed. Raises MachineCannotError where this Python has no pip, and none to take one from.
    """
    found = importlib.util.find_spec("pip")
    runner = os.path.join(os.path.dirname((found and found.origin) or ""), "__pip-runner__.py")
    pip = runner if os.path.isfile(runner) else bundled_pip()  # one before 22.3 has no runner
    if pip is None:
        raise MachineCannotError(
            f"{sys.executable}: has no pip of 22.3 or newer, and no ensurepip that holds one",
            f"{_get_ensurepip()}, then run it again",
        )
    return install_command(python, lock, pip=pip)


def bundled_pip() -> str | None:
    """Return the path, for Python to run, of the pip in ensurepip's wheel; None: there is none.

    It installs the lock's own pip with the rest. To have ensurepip install it first would take
    seconds, and leave packages that no lock pins.
    """
    try:
        import ensurepip  # noqa: PLC0415 - distributions ship it separately
    except ModuleNotFoundError:
        return None
    name = f"pip-{ensurepip.version()}-py3-none-any.whl"
    # Distributions keep the wheel in a folder of theirs, named in Python's configuration.
    bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
    for folder in (sysconfig.get_config_var("WHEEL_PKG_DIR"), bundled, _DEBIAN_WHEELS):
        wheel = os.path.join(folder, name) if folder else ""
        if os.path.isfile(wheel):
            return os.path.join(wheel, "pip")
    return None


def _install(lock: str) -> list[str]:
    return [
        *("install", "--require-hashes", "--only-binary", ":all:", "--no-compile"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        *("--requirement", lock),
    ]


def compile_command(python: str, folder: str) -> list[str]:
    """Return the command that writes the byte code of all modules below ``folder``, on all cores.

    It ends with 1 when a package holds a file that is no valid Python (a template, say), which is
    no failure of the environment. Its own children end with it, however it ends; for that,
    ``python`` has this program among its modules.
    """
    return [python, "-I", "-c", _COMPILE, "-q", "-j", "0", folder]


def pip_environ(environ: Mapping[str, str], temporary: str) -> dict[str, str]:
    """Return the variables under which venv and pip run (``environ`` without Python's own).

    pip's own configuration stays in force, less what would install elsewhere; its words are
    English, because ``failure`` reads them; its scratch files go to the folder ``temporary``.
    """
    kept = {name: value for name, value in environ.items() if name not in _PIP_REDIRECTS}
    return {**kept, "PIP_USER": "0", "TMPDIR": temporary, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}


def packages_taken(output: str) -> int:
    """Return how many packages pip has taken up so far, judging by what it said."""
    return len(_TAKEN.findall(output))


def failure(
    output: str,
    *,
    lock: str,
    keep: Callable[[], str],
    python: str,
    folder: str,
    elsewhere: str = "",
) -> LocalOpusError:
    """Return what went wrong when venv or pip ended with an error, from what they said.

    ``lock`` and ``python`` are the names to show. ``keep`` is called only where the error asks to
    read pip's words, and returns the log that holds them. ``folder`` lies on the environment's
    disk, the only one that can stop pip: its scratch files are there too, and a cache that can't
    be written it goes without. ``elsewhere`` says how to take another disk.
    """
    if _NO_SPACE.search(output) or _is_full(folder):
        return no_space(folder, elsewhere)
    if _NO_ENSUREPIP.search(output):
        return no_venv(python)
    if found := _SEPARATOR.search(output):
        return BadInputError(
            f"{found[1]}: a colon in the path, which Python's environments can't have",
            "Choose a folder without one: by XDG_DATA_HOME, or by moving the checkout.",
        )
    log = keep()
    words = f"pip's words: {log}"
    if found := _BAD_HASH.search(output):
        return LocalOpusError(
            f"{lock}: the package index offers another {found[1]} than the one pinned by its hash",
            f"Do not trust that index or mirror; choose another (PIP_INDEX_URL); {words}",
        )
    if out_of_time := clock.blamed(output, f"the package index{_host(output)}"):
        out_of_time.remedy += f"; {words}"
        return out_of_time
    if _BAD_CERTIFICATE.search(output):
        return MachineCannotError(
            f"the package index{_host(output)} has a certificate that this machine does not trust",
            f"Name the authority's file in PIP_CERT, or choose a mirror (PIP_INDEX_URL); {words}",
        )
    if _NO_NETWORK.search(output):
        return MachineCannotError(
            f"the package index{_host(output)} can't be reached",
            f"Connect to the network, or set PIP_INDEX_URL or PIP_PROXY, and run it again; {words}",
        )
    if found := _NO_WHEEL.search(output):
        if "(from versions: none)" in output:  # so pip says when it got no list at all, too
            return MachineCannotError(
                f"no package index that pip reaches offers {found[1]}",
                f"Check the network, PIP_INDEX_URL and PIP_FIND_LINKS, and run it again; {words}",
            )
        return MachineCannotError(
            f"the package index has no wheel of {found[1]} for {python} on {os.uname().machine}",
            f"Use a Python that has one, or an index that offers it (PIP_INDEX_URL); {words}",
        )
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    said = f": {errors[-1][7:].strip()}" if errors else ""
    return LocalOpusError(
        f"{lock}: the environment could not be made{said}", f"Read {log}, then run it again"
    )


def no_venv(python: str) -> MachineCannotError:
    """Return the error of a Python whose distribution ships ``venv`` or its pip separately."""
    return MachineCannotError(
        f"{python} can't make environments: its modules venv and ensurepip are not installed",
        f"{_get_ensurepip()}, then run it again",
    )


def _get_ensurepip() -> str:
    if os.path.exists("/usr/bin/apt-get"):
        return "Run `apt-get install python3-venv` as root"
    return "Install the package of your distribution that brings Python's venv and ensurepip"


def no_space(folder: str, elsewhere: str = "") -> MachineCannotError:
    """Return the error of a full disk; ``folder`` lies on it, ``elsewhere`` names another way."""
    left = ""
    with suppress(OSError):  # the folder went with the rest: the figure is only a help
        state = os.statvfs(folder)
        left = f" ({state.f_bavail * state.f_frsize // 1_000_000} MB left)"
        if state.f_files and not state.f_favail:
            left = " (no inodes left)"
    return MachineCannotError(
        f"no space left on the disk of {folder}{left}",
        f"Free about 1 GB there{f', or {elsewhere}' if elsewhere else ''}, and run it again",
    )


def _host(output: str) -> str:
    found = [one or two for one, two in _HOST.findall(output)]
    return f" at {found[-1]}" if found else ""


def _is_full(folder: str) -> bool:
    """Tell whether less than a megabyte is left: not every program says why it could not write."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize < _FULL_BYTES
