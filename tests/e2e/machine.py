"""A machine with a real systemd as its PID 1: a container on a throw-away overlay, no network.

What is special, and why:

- The overlay is mounted in a mount namespace that only the container's processes are in. When they
  end, however that comes, the mount is gone: a killed test leaves a folder and no mount.
- Each machine has control groups of its own, with the unified hierarchy inside, so that systemd
  enforces what it would on a real machine; ``bpf`` is allowed because its IPAddressDeny= needs it.
- A command is run by the machine's own PID 1. One that were entered into the namespaces from
  outside would keep this machine's capabilities and could set its clock; so only systemctl and
  systemd-run are entered, without those.
- The kernel ends the container when the tests' process dies.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import Lab, LabError

WHEELHOUSE = "/wheelhouse"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The machine asked to be started again (systemd-nspawn(1), exit status).
_REBOOT = 133
_BOOT_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GROUPS = Path("/sys/fs/cgroup")
#: Powers over this machine that nothing entered from outside may keep.
_DROPPED = (
    "sys_time", "sys_module", "sys_rawio", "syslog", "wake_alarm", "block_suspend", "mac_admin",
    "mac_override", "sys_pacct", "sys_boot",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A command that came to its end."""

    command: str
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.command}: exit code {self.code}\n{self.out}{self.err}"


class Machine:
    """One machine; ``with`` boots it and takes it away again."""

    def __init__(self, lab: Lab, name: str, prepare: Callable[[Path], None]) -> None:
        """``prepare`` puts files into the machine's tree before its first boot."""
        self.name = name
        self._lab = lab
        self._prepare = prepare
        self._folder = lab.folder / "run" / f"{name}-{os.getpid()}"
        self._held: int | None = None
        self._nspawn: subprocess.Popen[bytes] | None = None

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        clean_up(self._lab.folder)
        try:
            self._make()
            self.boot()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def _make(self) -> None:
        for part in ("upper", "work", "root"):
            (self._folder / part).mkdir(parents=True)
        self._held = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        upper = self._folder / "upper"
        (upper / "etc").mkdir()
        (upper / "etc/hostname").write_text(f"{self.name}\n")
        self._prepare(upper)

    def boot(self) -> str:
        """Start it; return ``running``, or ``degraded`` where a unit failed. Raises LabError."""
        groups = _own_groups(self._folder.name)
        for group in groups:
            group.mkdir(exist_ok=True)
        root, upper, work = (self._folder / part for part in ("root", "upper", "work"))
        overlay = f"lowerdir={self._lab.base},upperdir={upper},workdir={work}"
        container = [
            "systemd-nspawn", "--quiet", f"--directory={root}", f"--machine={self.name}", "--boot",
            "--register=no", "--keep-unit", "--console=pipe", "--private-network",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off",
            "--system-call-filter=bpf @keyring", "--capability=CAP_BPF",
            f"--bind-ro={self._lab.wheels}:{WHEELHOUSE}",
        ]  # fmt: skip
        mount = shlex.join(["mount", "-t", "overlay", "-o", overlay, "e2e", str(root)])
        own = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]

        def enter() -> None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        with open(self._folder / "console", "ab") as console:
            self._nspawn = subprocess.Popen(
                [*own, f"{mount} && exec {shlex.join(container)}"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env={"PATH": _PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                preexec_fn=enter,  # noqa: PLW1509 - no other thread runs while a machine is booted
                start_new_session=True,
            )  # fmt: skip
        return self._wait_booted(self._nspawn)

    def _wait_booted(self, nspawn: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + _BOOT_SECONDS
        while time.monotonic() < deadline:
            if nspawn.poll() is not None:
                raise LabError(f"{self.name} ended while it booted:\n{self.console()}")
            state = self._enter("systemctl", "is-system-running", timeout=10).out.strip()
            if state in {"running", "degraded"}:
                return state
            time.sleep(_POLL)
        raise LabError(f"{self.name} was not up after {_BOOT_SECONDS:.0f} s:\n{self.console()}")

    def reboot(self) -> str:
        """Let it shut down in order and start it again on the same disk."""
        if self._nspawn is None:
            raise LabError(f"{self.name} does not run")
        self._enter("systemctl", "--no-block", "reboot", timeout=10)
        code = self._nspawn.wait(_STOP_SECONDS)
        if code != _REBOOT:
            raise LabError(f"{self.name} ended with {code} instead of a reboot:\n{self.console()}")
        return self.boot()

    def remove(self) -> None:
        """Take its power away and remove all that it was; ``reboot`` is what ends it in order."""
        leader = self._leader()
        nspawn, self._nspawn = self._nspawn, None
        if nspawn is not None and nspawn.poll() is None:
            if leader is not None:
                os.kill(leader, signal.SIGKILL)
            try:
                nspawn.wait(_STOP_SECONDS)  # it clears up behind its machine
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()
        _remove(self._folder)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def console(self) -> str:
        """Return the last words on its console."""
        return (self._folder / "console").read_text(errors="replace")[-4000:]

    # -- commands -------------------------------------------------------------------------------

    def run(
        self,
        *command: str,
        timeout: int = 60,
        user: str | None = None,
        environ: Mapping[str, str] | None = None,
        folder: str = "/",
    ) -> Done:
        """Run a command there, as root or ``user``, and return what it left.

        It gets a service's environment, HOME and ``environ``; it is ended after ``timeout`` seconds.
        """
        given = {"HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", **(environ or {})}
        if user is not None:
            del given["HOME"]  # the manager sets it, from the user's entry
        return self._enter(
            "systemd-run", "--quiet", "--wait", "--pipe", "--collect",
            f"--property=RuntimeMaxSec={timeout}", f"--working-directory={folder}",
            *([f"--uid={user}"] if user is not None else []),
            *(f"--setenv={name}={value}" for name, value in given.items()),
            # A shell, so that a relative path starts at ``folder`` and a missing program is code 127.
            "--", "/bin/sh", "-c", 'exec "$0" "$@"', *command, timeout=timeout + 20,
        )  # fmt: skip

    def _enter(self, *command: str, timeout: float) -> Done:
        leader = self._leader()
        if leader is None:
            return Done(shlex.join(command), 127, "", f"{self.name} does not run\n", 0)
        begin = time.monotonic()
        done = subprocess.run(
            [
                "nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid",
                "--cgroup", "--", "setpriv", f"--bounding-set={','.join('-' + d for d in _DROPPED)}",
                "env", "--ignore-environment", f"PATH={_PATH}", "TERM=dumb", "LANG=C.UTF-8",
                *command,
            ],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        shown = shlex.join(command[command.index("--") + 4 :] if "--" in command else command)
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Done(shown, done.returncode, out, err, time.monotonic() - begin)

    def _leader(self) -> int | None:
        """The machine's PID 1 as this machine numbers it."""
        if self._nspawn is None:
            return None
        number = self._nspawn.pid
        with suppress(OSError):
            children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
            for child in children:
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return None


def clean_up(folder: Path) -> None:
    """Remove what machines of tests that were killed have left; those of running tests stay."""
    runs = folder / "run"
    for left in runs.iterdir() if runs.is_dir() else ():
        lock = left / "lock"
        if not lock.exists():
            if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
                _remove(left)
            continue
        with open(lock, "rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _remove(left)


def _own_groups(name: str) -> list[Path]:
    roots = [_GROUPS]
    if (_GROUPS / "unified").is_dir():  # version 2 beside version 1
        roots = [_GROUPS / "unified", _GROUPS / "systemd"]
    return [root / f"local-opus-e2e-{name}" for root in roots]


def _remove(folder: Path) -> None:
    for group in _own_groups(folder.name):
        deadline = time.monotonic() + _STOP_SECONDS
        while group.is_dir() and time.monotonic() < deadline:
            for below, _, files in os.walk(group, topdown=False):
                with suppress(OSError):  # processes in it are still ending
                    os.rmdir(below)
                if "cgroup.procs" in files and group.is_dir():
                    _end_all(Path(below))
            time.sleep(_POLL)
    if folder.exists():
        shutil.rmtree(folder)


def _end_all(group: Path) -> None:
    """End what is left in a machine's control group: nothing but the machine is ever in it."""
    with suppress(OSError):
        for number in (group / "cgroup.procs").read_text().split():
            os.kill(int(number), signal.SIGKILL)
