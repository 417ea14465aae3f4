"""A machine with a kernel of its own: the disk of a container, booted in qemu.

The container's kernel is this machine's, and what a unit may take of it, or set in it, is not the
container's to enforce or to try: memory limits, the kernel's own end of a process that breaks one,
sysfs and sysctl. Here all of that is real, and slow: there need be no KVM (an instruction costs
about 20), so a node is installed in the container first, and its disk is booted here.

- The root is what it was: the disk's overlay over the image. A small initramfs mounts it.
- Commands go through a virtio port to an agent, a unit that the initramfs puts into /run: nothing
  of it is on the disk. A command gets a service's environment.
- No udev and no modules beside those of the initramfs, as in the container.
- The kernel ends qemu when the tests' process dies; it is in the machine's control groups besides.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import remains
from disk import image_of
from initramfs import write_initramfs
from lab import LabError
from machine import Done, Machine, born_in

#: MiB. An engine with SmolLM2-135M takes 400.
MEMORY = 2048
_BOOT_SECONDS = 150.0
_STOP_SECONDS = 60.0
#: Seconds that an answer may take beyond the command's own limit.
_ANSWER_SECONDS = 30.0
_ARGUMENTS = (
    "console=ttyS0", "loglevel=4", "panic=-1", "systemd.show_status=error",
    # Waits for a device that only udev would announce.
    "systemd.mask=serial-getty@ttyS0.service",
)  # fmt: skip


class Virtual(Machine):
    """The disk of ``machine``, which is switched off, in a computer of its own.

    ``machine`` keeps the disk and takes it away. Raises LabError where there is no kernel for it.
    """

    def __init__(self, machine: Machine, memory: int = MEMORY) -> None:
        super().__init__(machine.lab, machine.name, lambda tree: None)
        self._memory = memory
        self._base = self._folder / "base.ext4"
        self._initramfs = self._folder / "initramfs"
        self._qemu: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        self._answers = b""

    def _make(self) -> None:
        image_of(self.lab.base, self._base)
        write_initramfs(self._initramfs, self.lab.kernel)

    def boot(self) -> str:
        """Start it; return ``running``, or ``degraded`` where a unit failed. Raises LabError."""
        self._disk.wait_released()
        groups = remains.own_groups(self._folder.name)
        for group in groups:
            group.mkdir(exist_ok=True)
        kernel = next((self.lab.kernel / "boot").glob("vmlinuz-*"))
        self._port, theirs = socket.socketpair()
        with theirs, open(self._folder / "console", "ab") as console:
            self._qemu = subprocess.Popen(
                [
                    "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi",
                    "-cpu", "max", "-smp", "2", "-m", str(self._memory),
                    "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
                    "-kernel", str(kernel), "-initrd", str(self._initramfs),
                    "-append", " ".join(_ARGUMENTS), "-serial", "stdio",
                    *_drive("base", self._base, "readonly=on"),
                    *_drive("own", self._disk.image, "cache=unsafe"),
                    "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port",
                    "-chardev", f"socket,id=port,fd={theirs.fileno()}",
                ],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                pass_fds=[theirs.fileno()],
                preexec_fn=born_in(groups),  # noqa: PLW1509 - no other thread runs meanwhile
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _BOOT_SECONDS
        self._read(deadline)  # the agent's word that it is there
        while time.monotonic() < deadline:
            state = self.run("systemctl", "is-system-running").out.strip()
            if state in {"running", "degraded"}:
                return state
            time.sleep(0.2)
        raise LabError(f"{self.name} was not up after {_BOOT_SECONDS:.0f} s:\n{self.console()}")

    def reboot(self) -> str:
        """Let it shut down in order and start it again on the same disk."""
        self.power_off()
        return self.boot()

    def power_off(self) -> None:
        """Let it shut down in order. ``boot`` starts it again."""
        if self._qemu is None:
            raise LabError(f"{self.name} does not run")
        self.run("systemctl", "--no-block", "poweroff")
        try:
            self._qemu.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name} does not shut down:\n{self.console()}") from error
        self._end()

    def power_off_hard(self) -> None:
        """Not here: qemu's disk keeps what the machine wrote, as the page cache is this machine's."""
        raise LabError("take the power from a container: its disk can lose what was not written")

    def remove(self) -> None:
        """Take its power away; what it is made of is the container's."""
        self._end()

    def _end(self) -> None:
        qemu, self._qemu = self._qemu, None
        if qemu is not None:
            qemu.kill()
            qemu.wait()
        if self._port is not None:
            self._port.close()
            self._port, self._answers = None, b""

    # -- commands -------------------------------------------------------------------------------

    def run(
        self,
        *command: str,
        timeout: int = 120,
        user: str | None = None,
        environ: Mapping[str, str] | None = None,
        folder: str = "/",
    ) -> Done:
        """Run a command there, as root or ``user``, and return what it left.

        It gets a service's environment, HOME and ``environ``; it is ended after ``timeout`` seconds.
        """
        if self._port is None:
            return Done(shlex.join(command), 127, "", f"{self.name} does not run\n", 0)
        given = {"LANG": "C.UTF-8", "TERM": "dumb", "HOME": "/root", **(environ or {})}
        words = list(command)
        if user is not None:
            words = ["runuser", "-u", user, "--", "env", f"HOME=/home/{user}", *words]
        asked = {"command": words, "timeout": timeout, "environ": given, "folder": folder}
        begin = time.monotonic()
        self._port.settimeout(timeout + _ANSWER_SECONDS)
        self._port.sendall(json.dumps(asked).encode() + b"\n")
        code, out, err = self._read(begin + timeout + _ANSWER_SECONDS)
        return Done(shlex.join(command), code, out, err, time.monotonic() - begin)

    def _read(self, deadline: float) -> tuple[int, str, str]:
        """Return the agent's next line. Raises LabError."""
        assert self._port is not None
        while b"\n" not in self._answers:
            self._port.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                more = self._port.recv(1 << 16)
            except TimeoutError as error:
                raise LabError(f"{self.name} does not answer:\n{self.console()}") from error
            if not more:
                raise LabError(f"{self.name} ended:\n{self.console()}")
            self._answers += more
        line, _, self._answers = self._answers.partition(b"\n")
        code, out, err = json.loads(line)
        return code, out, err

    def entering(self, *command: str) -> list[str]:
        """Not here: what is inside is not seen by this machine's kernel."""
        raise LabError(f"{shlex.join(command)}: no process of a virtual machine can be entered")

    def leader(self) -> int | None:
        """Return None: its processes are not this machine's."""
        return None


def _drive(name: str, image: Path, options: str) -> list[str]:
    return [
        "-drive", f"id={name},file={image},format=raw,if=none,{options}",
        "-device", f"virtio-blk-pci,drive={name}",
    ]  # fmt: skip
