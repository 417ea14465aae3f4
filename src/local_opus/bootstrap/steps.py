"""The steps of building one environment: to the end or not at all."""

from __future__ import annotations

import errno
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

from local_opus import environment as commands
from local_opus.bootstrap import STAMP, Environment, lock_path, without_python_settings
from local_opus.children import dies_with_me
from local_opus.errors import LocalOpusError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFRESH_SECONDS = 0.5


class Screen(Protocol):
    """Where the words about a build go: bootstrap itself prints nothing."""

    def progress(self, text: str) -> None:
        """Show what happens now, in place of what was shown before."""

    def note(self, text: str) -> None:
        """Say one line that stays."""


class Build:
    """The one build of an environment, by the holder of its lock."""

    def __init__(
        self,
        checkout: str,
        kind: str,
        environment: Environment,
        environ: Mapping[str, str],
        screen: Screen,
        descriptor: int,
    ) -> None:
        self._checkout = checkout
        self._lock = lock_path(checkout, kind)
        self._environment = environment
        self._temporary = os.path.join(environment.folder, "tmp")
        self._environ = commands.pip_environ(without_python_settings(environ), self._temporary)
        self._screen = screen
        self._descriptor = descriptor
        self._started = time.monotonic()

    def run(self) -> None:
        """Build it; a build that fails leaves nothing but its log."""
        # Distributions ship them separately.
        if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
            raise commands.no_venv(sys.executable)
        try:
            self._build()
        except OSError as error:
            remove(self._environment.folder)
            if error.errno in _FULL:
                raise commands.no_space(self._environment.base, self._elsewhere()) from error
            raise LocalOpusError(
                f"{error.filename or self._environment.folder}: {error.strerror}",
                "Put that right and run it again",
            ) from error
        except BaseException:
            remove(self._environment.folder)
            raise

    def _build(self) -> None:
        it = self._environment
        remove(it.folder)
        os.mkdir(it.folder, 0o700 if os.geteuid() == 0 else 0o755)
        os.mkdir(self._temporary, 0o700)
        remove(it.log)
        with open(it.log, "xb", buffering=0) as log:
            pip = commands.bundled_pip()
            venv = commands.venv_command(sys.executable, it.folder, with_pip=pip is None)
            self._step(venv, log)
            self._step(commands.install_command(it.python, self._lock, pip=pip), log)
        shutil.rmtree(self._temporary)
        known = {"base": it.folder, "platbase": it.folder}
        packages = sysconfig.get_path("purelib", scheme="venv", vars=known)
        with open(os.path.join(packages, "local_opus_checkout.pth"), "wb") as link:
            link.write(os.fsencode(os.path.join(self._checkout, "src")) + b"\n")
        os.sync()  # the stamp must not outlive a power cut that the rest does not
        with open(os.path.join(it.folder, STAMP), "xb") as stamp:
            stamp.write(it.name.encode() + b"\n")
            stamp.flush()
            os.fsync(stamp.fileno())

    def _step(self, command: Sequence[str], log: BinaryIO) -> None:
        """Run a command to its end; raise what its failure means."""
        log.write(f"$ {' '.join(command)}\n".encode(errors="surrogateescape"))
        output = bytearray()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environ,
            cwd=self._environment.base,
            # Should we be killed, it dies too; were it not to, it would still hold the lock.
            pass_fds=(self._descriptor,),
            preexec_fn=dies_with_me(),  # noqa: PLW1509 - this program has one thread
            start_new_session=True,
        ) as child:
            try:
                for chunk in self._chunks(child):
                    log.write(chunk)
                    output += chunk
                    self._show(output)
                code = child.wait()
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                raise
        if code != 0:
            said = output.decode(errors="replace")
            raise commands.failure(
                said + (f"\nERROR: it was ended by signal {-code}\n" if code < 0 else ""),
                lock=os.path.basename(self._lock),
                keep=lambda: self._environment.log,
                python=f"Python {sys.version_info.major}.{sys.version_info.minor}",
                folder=self._environment.base,
                elsewhere=self._elsewhere(),
            )

    def _elsewhere(self) -> str:
        """Say how to build on another disk: the checkout's own folder comes before the cache."""
        if self._environment.base == os.path.join(self._checkout, ".env"):
            return "move the checkout to another disk"
        return "point XDG_CACHE_HOME at another disk"

    @staticmethod
    def _chunks(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """Give what the child says as it says it; nothing, now and then, while it is silent."""
        if child.stdout is None:
            raise ValueError("the child has no pipe")
        while True:
            heard, _, _ = select.select([child.stdout], [], [], _REFRESH_SECONDS)
            chunk = os.read(child.stdout.fileno(), 65536) if heard else b""
            if heard and not chunk:
                return
            yield chunk

    def _show(self, output: bytearray) -> None:
        fetched = commands.packages_taken(output.decode(errors="replace"))
        what = f"{fetched} packages"
        if b"\nInstalling collected packages" in output:
            what = f"installing {what}"
        elif not fetched:
            what = "preparing"
        seconds = time.monotonic() - self._started
        self._screen.progress(f"Setting up the environment (once): {what}, {seconds:.0f} s")


def remove(path: str) -> None:
    """Remove a file, link or tree, if it is there; a link's target stays."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return
