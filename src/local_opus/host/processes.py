"""Child processes: clean environment, time limit, killed with their children."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from local_opus import interrupts, log_rotation
from local_opus.children import dies_with_me
from local_opus.errors import LocalOpusError, WorkerError
from local_opus.host.dialogue import Dialogue
from local_opus.host.worker_command import worker_command
from local_opus.host.workers import Asked, BegunWorker, end, give
from local_opus.runtime import protocol

_KEPT = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    }
)
_KEPT_PREFIXES = ("PIP_", "XDG_", "LOCAL_OPUS_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "no_proxy", "all_proxy"})
#: A client's key, which no child needs and everybody could read of a server's environment.
_SECRETS = frozenset({"LOCAL_OPUS_API_KEY"})
_CHUNK = 65536
#: What children make is for others to read and for its owner to write, whatever the caller's umask.
_UMASK = 0o022
#: Administrators' programs (groupadd), which an ordinary user's PATH may lack.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
#: Waits for a line before it becomes the command; where none comes, it ends.
_GATE = 'read -r go && exec "$@" </dev/null'


@dataclass(frozen=True)
class Completed:
    """What a finished child left: its exit code (negative: the signal) and its output."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line that says something, of standard error if there is one."""
        lines = [
            line.strip() for line in (self.err.strip() or self.out).splitlines() if line.strip()
        ]
        return lines[-1] if lines else f"exit code {self.code}"


def require_machine(image: str | None) -> None:
    """Raise LocalOpusError for an image: what it wants run would run on this machine."""
    if image is not None:
        raise LocalOpusError(
            f"{image}: an image, and nothing that it holds is started or ended here",
            "Start a machine from it, and run this there.",
        )


class Processes:
    """Starts child processes of this program; ``image`` is the folder of one, None: no image.

    For an image this program runs what it chose itself. What outlives it, or ran before it, is
    named by a receipt, and anybody can have written that of an image.
    """

    def __init__(self, environ: Mapping[str, str], image: str | None = None) -> None:
        self._environ = environ
        self._image = image
        #: The interpreter of workers: of the environment that has the native libraries. This
        #: program's own, until the environment of an install is there.
        self.worker_python = sys.executable
        #: Returns the command of a worker, by its module, that is to run in a sandbox.
        self.launch: Callable[[str], list[str]] | None = None

    def clean_environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment that children get: what they need, in the C locale."""
        kept = {
            name: value
            for name, value in self._environ.items()
            if (name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.lower() in _PROXIES)
            and name not in _SECRETS
        }
        folders = (kept.get("PATH") or "/usr/local/bin:/usr/bin:/bin").split(":")
        kept["PATH"] = ":".join([*folders, *(one for one in _SBIN if one not in folders)])
        return {**kept, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **(extra or {})}

    @staticmethod
    def python() -> str:
        """Return this interpreter."""
        return sys.executable

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        input: bytes | None = None,  # noqa: A002 - the word of subprocess.run
        extra_env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        undisturbed: bool = False,
    ) -> Completed:
        """Run a command to its end.

        ``undisturbed``: it is short, and changes files of the machine that it would leave locked
        or half-written; so it is let come to its end when this program is interrupted or killed.
        Raises LocalOpusError when the program is missing and WorkerError at the time limit.
        """
        out, err, pending = bytearray(), bytearray(), bytearray()

        def on_output(data: bytes) -> None:
            out.extend(data)
            if on_line is not None:
                pending.extend(data)
                *lines, rest = pending.split(b"\n")
                pending[:] = rest
                for line in lines:
                    on_line(line.decode("utf-8", errors="replace"))

        code = self._communicate(
            command, timeout, input, extra_env, on_output, err.extend, undisturbed=undisturbed
        )
        return Completed(
            code,
            out.decode("utf-8", errors="replace"),
            err.decode("utf-8", errors="replace"),
        )

    def worker(
        self,
        module: str,
        request: protocol.Message,
        *,
        timeout: float,
        on_event: Callable[[protocol.Message], None] | None = None,
        extra_env: Mapping[str, str] | None = None,
    ) -> protocol.Message:
        """Ask the worker ``local_opus.runtime.<module>`` and return its result.

        Raises WorkerError when it reports an error, crashes, breaks the protocol or runs over
        ``timeout`` seconds.
        """
        asked = Asked(module, on_event)
        command = self._worker_command(asked.name)
        given = protocol.encode(request)
        hears = (asked.hear, asked.err.extend)
        return asked.answer(self._communicate(command, timeout, given, extra_env, *hears))

    def begin_worker(
        self,
        module: str,
        request: protocol.Message,
        *,
        timeout: float,
        extra_env: Mapping[str, str] | None = None,
    ) -> BegunWorker:
        """Start a worker as ``worker`` does, and return at once; ``result`` waits for it.

        A worker that still runs is ended when the ``with`` block of what is returned is left.
        """
        asked = Asked(module)
        command = self._worker_command(asked.name)
        limit = (time.monotonic() + timeout, timeout)
        child = self._open(command, extra_env, piped=True)
        give(child, protocol.encode(request))
        return BegunWorker(
            child, asked,
            lambda: self._finish(child, command, limit, None, asked.hear, asked.err.extend),
        )  # fmt: skip

    def _worker_command(self, name: str) -> list[str]:
        return self.launch(name) if self.launch else worker_command(self.worker_python, name)

    def dialogue(self, module: str) -> Dialogue:
        """Start the worker ``local_opus.runtime.<module>`` to ask it several things."""
        return Dialogue(self.worker_python, module, self.clean_environment())

    def start_detached(
        self,
        command: Sequence[str],
        *,
        log: str,
        record: Callable[[int], None],
        old_log: str | None = None,
        user: int | None = None,
        group: int | None = None,
        extra_env: Mapping[str, str] | None = None,
    ) -> int:
        """Start a command that outlives this program, and return its PID.

        ``record`` is told the PID before the command begins: were this program killed on the way,
        nothing runs that was not recorded. Output is appended to ``log``; the command may move its
        older part into ``old_log``, see log_rotation. ``user`` and ``group``
        are numbers to change to (root only); None: those of this process. Raises LocalOpusError on
        an image.
        """
        require_machine(self._image)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(log, flags | os.O_APPEND, 0o600)
        try:
            old = None if old_log is None else os.open(old_log, flags, 0o600)
        except BaseException:
            os.close(descriptor)
            raise
        handed = {} if old is None else {log_rotation.VARIABLE: str(old)}
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=() if old is None else (old,),
                env=self.clean_environment({**(extra_env or {}), **handed}),
                cwd="/",
                start_new_session=True,
                preexec_fn=interrupts.restore_defaults,  # noqa: PLW1509 - as below
                umask=_UMASK,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        finally:
            os.close(descriptor)
            if old is not None:
                os.close(old)
        gate = child.stdin
        if gate is None:
            raise ValueError("the child has no pipe")
        try:
            record(child.pid)
            gate.write(b"go\n")
        finally:
            with suppress(BrokenPipeError):  # it ended already: who waits for it will tell
                gate.close()
            child.returncode = 0  # it is not ours to wait for: no ResourceWarning at exit
        return child.pid

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal; return whether the process was there.

        Raises PermissionError, and LocalOpusError on an image.
        """
        require_machine(self._image)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def _communicate(
        self,
        command: Sequence[str],
        timeout: float,
        given: bytes | None,
        extra_env: Mapping[str, str] | None,
        on_out: Callable[[bytes], None],
        on_err: Callable[[bytes], None],
        *,
        undisturbed: bool = False,
    ) -> int:
        deadline = time.monotonic() + timeout
        piped = given is not None
        child = self._open(command, extra_env, piped=piped, undisturbed=undisturbed)
        return self._finish(
            child, command, (deadline, timeout), given, on_out, on_err, undisturbed=undisturbed
        )

    def _open(
        self,
        command: Sequence[str],
        extra_env: Mapping[str, str] | None,
        *,
        piped: bool,
        undisturbed: bool = False,
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.clean_environment(extra_env),
                start_new_session=True,
                # Whatever kills this program ends its children too: none goes on writing.
                # (Calls into C alone, which take no lock.)
                preexec_fn=interrupts.restore_defaults if undisturbed else dies_with_me(),  # noqa: PLW1509
                umask=_UMASK,
            )
        except FileNotFoundError as error:
            raise LocalOpusError(
                f"{command[0]}: program not found", f"Install {command[0]} and run this again."
            ) from error

    def _finish(
        self,
        child: subprocess.Popen[bytes],
        command: Sequence[str],
        limit: tuple[float, float],
        given: bytes | None,
        on_out: Callable[[bytes], None],
        on_err: Callable[[bytes], None],
        *,
        undisturbed: bool = False,
    ) -> int:
        """Talk with a child to its end; ``limit`` is its deadline, and the seconds it was given."""
        deadline, timeout = limit
        with child:
            try:
                self._pump(child, deadline, given, on_out, on_err)
                return child.wait(max(0.1, deadline - time.monotonic()))
            except (TimeoutError, subprocess.TimeoutExpired) as error:
                worker = command[-1].startswith("local_opus.runtime.")
                name = command[-1] if worker or "-m" in command else command[0]
                raise WorkerError(
                    f"{name} ran over its time limit of {timeout:g} s and was ended",
                    "Run it again; `local-opus detect` shows the drivers of this machine.",
                ) from error
            except KeyboardInterrupt:
                if undisturbed:
                    child.wait(max(0.1, deadline - time.monotonic()))
                raise
            finally:
                end(child)

    @staticmethod
    def _pump(
        child: subprocess.Popen[bytes],
        deadline: float,
        given: bytes | None,
        on_out: Callable[[bytes], None],
        on_err: Callable[[bytes], None],
    ) -> None:
        if child.stdout is None or child.stderr is None:
            raise ValueError("the child has no pipes")
        if given is not None:
            give(child, given)
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ, on_out)
            selector.register(child.stderr, selectors.EVENT_READ, on_err)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for key, _ in selector.select(left):
                    data = os.read(key.fd, _CHUNK)
                    if data:
                        key.data(data)
                    else:
                        selector.unregister(key.fileobj)
