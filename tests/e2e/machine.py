"""A machine with a real systemd as its PID 1: a container on a throw-away disk, no network.

What is special, and why:

- The disk, and the overlay of it over the image, are mounted in a mount namespace that only the
  container's processes are in. When they end, however that comes, the mounts are gone: a killed
  test leaves a folder and no mount.
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import remains
from disk import Disk
from lab import Lab, LabError

WHEELHOUSE = "/wheelhouse"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The machine asked to be started again (systemd-nspawn(1), exit status).
_REBOOT = 133
_BOOT_SECONDS = 60.0
_STOP_SECONDS = 30.0
_POLL = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
#: Powers over this machine that nothing entered from outside may keep.
_DROPPED = (
    "sys_time", "sys_module", "sys_rawio", "syslog", "wake_alarm", "block_suspend", "mac_admin",
    "mac_override", "sys_pacct", "sys_boot",
)  # fmt: skip


def born_in(groups: Sequence[Path]) -> Callable[[], None]:
    """Return what a new process does first: it enters ``groups``, and ends when this one does."""

    def enter() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    return enter


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

    def __init__(
        self,
        lab: Lab,
        name: str,
        prepare: Callable[[Path], None],
        binds: Mapping[Path, str] | None = None,
    ) -> None:
        """``prepare`` puts files into the machine's tree before its first boot.

        ``binds``: folders of this machine, and where they are to be seen inside.
        """
        self.name = name
        self.lab = lab
        self._prepare = prepare
        self._binds = binds or {}
        self._folder = lab.folder / "run" / f"{name}-{os.getpid()}"
        self._disk = Disk(self._folder)
        self._held: int | None = None
        self._nspawn: subprocess.Popen[bytes] | None = None

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        remains.clean_up(self.lab.folder)
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
        for part in ("root", "content/upper/etc", "content/work"):
            (self._folder / part).mkdir(parents=True)
        self._held = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        content = self._folder / "content"
        (content / "upper/etc/hostname").write_text(f"{self.name}\n")
        self._prepare(content / "upper")
        self._disk.make(content)
        shutil.rmtree(content)

    def boot(self) -> str:
        """Start it; return ``running``, or ``degraded`` where a unit failed. Raises LabError."""
        groups = remains.own_groups(self._folder.name)
        for group in groups:
            group.mkdir(exist_ok=True)
        root, disk = self._folder / "root", self._disk
        disk.wait_released()
        overlay = f"lowerdir={self.lab.base},upperdir={disk.upper},workdir={disk.work}"
        container = [
            "systemd-nspawn", "--quiet", f"--directory={root}", f"--machine={self.name}", "--boot",
            "--register=no", "--keep-unit", "--console=pipe", "--private-network",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off",
            "--system-call-filter=bpf @keyring", "--capability=CAP_BPF",
            f"--bind-ro={self.lab.wheels}:{WHEELHOUSE}",
            *(f"--bind={ours}:{inside}" for ours, inside in self._binds.items()),
        ]  # fmt: skip
        mount = shlex.join(["mount", "-t", "overlay", "-o", overlay, "e2e", str(root)])
        own = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]

        with open(self._folder / "console", "ab") as console:
            self._nspawn = subprocess.Popen(
                [*own, f"{disk.mount_command()} && {mount} && exec {shlex.join(container)}"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env={"PATH": _PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                preexec_fn=born_in(groups),  # noqa: PLW1509 - no other thread runs while a machine is booted
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

    def power_off(self) -> None:
        """Let it shut down in order. ``boot`` starts it again."""
        if self._nspawn is None:
            raise LabError(f"{self.name} does not run")
        self._enter("systemctl", "--no-block", "poweroff", timeout=10)
        code = self._nspawn.wait(_STOP_SECONDS)
        if code != 0:
            raise LabError(f"{self.name} ended with {code}:\n{self.console()}")
        self._nspawn = None

    def power_off_hard(self) -> None:
        """Take its power away: what it had not brought to its disk is lost. ``boot`` follows."""
        if self._nspawn is None:
            raise LabError(f"{self.name} does not run")
        self._disk.cut_power(self._nspawn.pid)
        self._end()

    def remove(self) -> None:
        """Take its power away and remove all that it was; ``reboot`` is what ends it in order."""
        self._end()
        remains.remove(self._folder)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _end(self) -> None:
        leader = self.leader()
        nspawn, self._nspawn = self._nspawn, None
        if nspawn is not None and nspawn.poll() is None:
            if leader is not None:
                os.kill(leader, signal.SIGKILL)
            try:
                nspawn.wait(_STOP_SECONDS)  # it clears up behind its machine
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()

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
        login: bool = False,
    ) -> Done:
        """Run a command there, as root or ``user``, and return what it left.

        It gets a service's environment, HOME and ``environ``; it is ended after ``timeout`` seconds.
        ``login``: in a session of the user's own, which starts their systemd.
        """
        given = dict(environ or {})
        options = [f"--property=RuntimeMaxSec={timeout}"]
        if user is None:
            given.setdefault("HOME", "/root")
        else:
            if login:
                options.append("--property=PAMName=login")
            options.append(f"--uid={user}")  # the manager sets HOME, from the user's entry
        words = self.service_command(command, options, given, folder)
        return self._enter(*words, timeout=timeout + 20)

    @staticmethod
    def service_command(
        command: Sequence[str], options: Sequence[str], environ: Mapping[str, str], folder: str
    ) -> list[str]:
        """Return what makes the machine's PID 1 run ``command`` with our standard files."""
        given = {"LANG": "C.UTF-8", "TERM": "dumb", **environ}
        return [
            "systemd-run", "--quiet", "--wait", "--pipe", "--collect", *options,
            f"--working-directory={folder}",
            *(f"--setenv={name}={value}" for name, value in given.items()),
            # A shell, so that a relative path starts at ``folder`` and a missing program is code 127.
            "--", "/bin/sh", "-c", 'exec "$0" "$@"', *command,
        ]  # fmt: skip

    def _enter(self, *command: str, timeout: float) -> Done:
        shown = shlex.join(command[command.index("--") + 4 :] if "--" in command else command)
        if self.leader() is None:
            return Done(shown, 127, "", f"{self.name} does not run\n", 0)
        begin = time.monotonic()
        done = subprocess.run(
            self.entering(*command),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Done(shown, done.returncode, out, err, time.monotonic() - begin)

    def entering(self, *command: str) -> list[str]:
        """Return the command that runs a tool of systemd inside. Raises LabError."""
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.name} does not run")
        return [
            "nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid",
            "--cgroup", "--", "setpriv", f"--bounding-set={','.join('-' + d for d in _DROPPED)}",
            "env", "--ignore-environment", f"PATH={_PATH}", "TERM=dumb", "LANG=C.UTF-8",
            *command,
        ]  # fmt: skip

    def leader(self) -> int | None:
        """Return the machine's PID 1 as this machine numbers it; None: it does not run."""
        if self._nspawn is None:
            return None
        number = self._nspawn.pid
        with suppress(OSError):
            children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
            for child in children:
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return None
