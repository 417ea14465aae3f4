"""Make the Python environment that an install runs from: a lock's packages and this program.

It is built beside its place and takes it by a rename: what was there works until then, and is moved
aside, to come back where a run that began to replace it is taken back.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Self

from local_opus import environment, program, resources
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.errors import LocalOpusError
from local_opus.host import FileStat, Host
from local_opus.host.files import new_name
from local_opus.values import Sha256

#: The last file written: an environment without it is half-made.
MARKER = ".complete"
_MODE = 0o755
_OTHERS_WRITE = 0o022
_BASE = ("local_opus.cli.choices", "local_opus.control")
#: What runs from the environment of each lock.
_LOADED = {
    "requirements.lock": _BASE,
    "requirements-openvino.lock": (*_BASE, "openvino"),
    "requirements-server.lock": (
        *_BASE,
        "local_opus.serve",
        "local_opus.serving",
        "openvino_genai",
        "openvino_tokenizers",
    ),
}
_CLOSED = "closed to this user"
_VENV_TIMEOUT = 120.0
_LOAD_TIMEOUT = 300.0
_PIP_TIMEOUT = 3600.0


class CreateEnvironment(Action):
    """An environment in ``folder``; its name carries a digest of all that goes into it."""

    kind: ClassVar[str] = "create_environment"
    reverted_in: ClassVar[int] = 1
    folder: str
    #: File name of the lock, e.g. requirements-server.lock.
    lock: str
    lock_sha256: Sha256
    program_sha256: Sha256
    #: The Python that it is made from, and its version as major.minor.
    interpreter: str
    python: str
    #: Make it anew also where it looks complete: an image may have brought it.
    anew: bool = False

    def summary(self) -> str:
        """Say what it does."""
        return f"create the environment {self.folder} (Python {self.python}, {self.lock})"

    def paths(self) -> tuple[str, ...]:
        """Name the folder, and the new one and the former one beside it."""
        return (self.folder, self._new, self._former)

    @property
    def _new(self) -> str:
        parent, _, name = self.folder.rpartition("/")
        return f"{parent}/{new_name(name)}"

    @property
    def _former(self) -> str:
        parent, _, name = self.folder.rpartition("/")
        return f"{parent}/.{name}.local-opus-former"

    def covers(self, earlier: Self) -> bool:
        """One that was made anew is the same."""
        return earlier.model_copy(update={"anew": self.anew}) == self

    def _marker(self) -> str:
        return f"{self.lock_sha256} {self.program_sha256}\n"

    def inspect(self, host: Host) -> Inspection:
        """A complete environment of the same lock and program is present."""
        found = host.files.stat(self.folder)
        if found is None:
            return Inspection(state=State.ABSENT, evidence="not there")
        if found.mode != _MODE:  # closed to the service, or others may have changed what is in it
            return Inspection(state=State.DIFFERENT, evidence=f"mode {found.mode:04o}")
        if (lack := self._lack(host)) is not None:
            return Inspection(state=State.DIFFERENT, evidence=lack)
        for path in (self._new, self._former):
            if host.files.stat(path) is not None:
                return Inspection(state=State.DIFFERENT, evidence=f"{path} was left beside it")
        return Inspection(state=State.PRESENT, evidence="complete")

    def _lack(self, host: Host) -> str | None:
        """Say what keeps the environment from being the planned one."""
        if self.anew:
            return "to be made anew"
        marker = f"{self.folder}/{MARKER}"
        python = f"{self.folder}/bin/python"
        try:
            if host.files.stat(marker) is None or host.files.stat(python) is None:
                return "half-made"
            if host.files.read_text(marker, 1024) != self._marker():
                return "made from another lock or program"
        except PermissionError as error:
            return f"{error.filename}: {_CLOSED}"
        return None

    def capture(self, host: Host) -> Record:
        """What is there is moved aside, not copied: there is nothing to keep."""
        there = (host.files.stat(path) for path in (self.folder, self._former))
        return {"existed": any(found is not None for found in there)}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Set its mode where that is all; else build one and put it in its place."""
        found = self._find(host)
        if found is None or not self._mended(host, found):
            self._drop(host, self._new)
            self._build(host, progress)
            if found is not None:
                self._drop(host, self._former)
                host.files.rename(self.folder, self._former)
            host.files.rename(self._new, self.folder)
        self._drop(host, self._new, self._former)
        return {}

    def room(self, host: Host) -> int:
        """Return the bytes that ``execute`` takes of the disk; 0 where nothing is made anew.

        What a killed run left of one goes before the next is made, so its bytes count as free.
        """
        found = host.files.stat(self.folder)
        if found is not None and not found.mode & _OTHERS_WRITE:
            lack = self._lack(host)
            if lack is None or lack.endswith(_CLOSED):  # then its mode is all that is wrong
                return 0
        left = 0
        if host.files.stat(self._new) is not None:
            left = sum(item.size for _, item in host.files.walk(self._new))
        return max(0, environment.ROOM[self.lock] - left)

    def _find(self, host: Host) -> FileStat | None:
        found = host.files.stat(self.folder)
        if found is not None and found.kind != "folder":
            raise LocalOpusError(
                f"{self.folder}: {found.what} took the place of the environment",
                "Move it away and run this again.",
            )
        return found

    def _mended(self, host: Host, found: FileStat) -> bool:
        """Set the mode, and tell whether it then is the planned one, as nobody else changed it."""
        if found.mode & _OTHERS_WRITE:
            return False
        if found.mode != _MODE:
            host.files.set_mode(self.folder, _MODE)
        return self._lack(host) is None

    @staticmethod
    def _drop(host: Host, *folders: str) -> None:
        for folder in folders:
            if host.files.stat(folder) is not None:
                host.files.remove_tree(folder)

    def _build(self, host: Host, progress: Progress) -> None:
        """Make a new one; its marker comes last."""
        host.files.make_folder(self._new, mode=_MODE)
        self._install_packages(host, progress)
        self._name_final_folder(host)
        progress("copy the program", 0, None)
        self._copy_program(host)
        if not host.is_image:  # the program of an image can't be started here
            progress("load the libraries", 0, None)
            self._load_libraries(host)
        host.files.sync_all()  # the marker must not outlive a power cut that the rest does not
        host.files.write_atomic(f"{self._new}/{MARKER}", self._marker().encode())

    def _install_packages(self, host: Host, progress: Progress) -> None:
        real = host.files.real_path(self._new)
        python = host.processes.python()
        lock = resources.folder("locks") / self.lock
        env = environment.pip_environ(host.processes.clean_environment(), real)
        packages = sum("==" in line for line in resources.read("locks", self.lock).splitlines())
        said: list[str] = []

        def on_line(line: str) -> None:
            said.append(line)
            taken = environment.packages_taken("\n".join(said))
            progress("install packages", min(taken, packages), packages)

        log = ""
        for command, limit in (
            (environment.venv_command(self.interpreter, real, with_pip=False), _VENV_TIMEOUT),
            (environment.install_into_command(f"{real}/bin/python", str(lock)), _PIP_TIMEOUT),
        ):
            done = host.processes.run(command, timeout=limit, extra_env=env, on_line=on_line)
            log += done.out + done.err
            if done.code != 0:
                raise environment.failure(
                    self._final(log),
                    lock=self.lock,
                    keep=partial(host.keep_log, "pip", log),
                    python=python,
                    folder=real.rpartition("/")[0],
                )

    def _final(self, text: str) -> str:
        """Return a text that names the new folder as it will name its final place."""
        return text.replace(self._new.rpartition("/")[2], self.folder.rpartition("/")[2])

    def _name_final_folder(self, host: Host) -> None:
        """Put the final path into the scripts: each names its Python, or its environment."""
        scripts = [f"{self._new}/bin/{name}" for name in host.files.list(f"{self._new}/bin")]
        for path in (*scripts, f"{self._new}/pyvenv.cfg"):
            found = host.files.stat(path)
            if found is None or found.kind != "file":
                continue
            data = host.files.read_bytes(path)
            final = self._final(data.decode(errors="surrogateescape"))
            new = final.encode(errors="surrogateescape")
            if new != data:
                host.files.write_atomic(path, new, mode=found.mode, durable=False)

    def _package(self) -> str:
        return f"{self._new}/lib/python{self.python}/site-packages/local_opus"

    def _copy_program(self, host: Host) -> None:
        for relative, data in program.files():
            path = f"{self._package()}/{relative}"
            host.files.make_folders(path.rpartition("/")[0])
            host.files.write_atomic(path, data, durable=False)

    def _load_libraries(self, host: Host) -> None:
        """Import all that will run: it proves that it loads here, and writes its byte code.

        The service can't write byte code, and compiling every module of the packages takes 10 s
        where these imports take 2.
        """
        python = f"{self._new}/bin/python"
        compiling = environment.compile_command(python, self._package())
        host.processes.run(compiling, timeout=_LOAD_TIMEOUT)
        modules = ", ".join(_LOADED[self.lock])
        start = "from local_opus.runtime.worker import turn_telemetry_off as off; off()"
        loading = [python, "-s", "-P", "-c", f"{start}; import {modules}"]
        done = host.processes.run(loading, timeout=_LOAD_TIMEOUT)
        if done.code != 0:
            raise LocalOpusError(
                f"{self.folder}: a library does not load on this machine: {done.last_line}",
                "Install what it names with your distribution's packages, then run this again.",
            )

    def revert(self, host: Host, before: Record, after: Record | None) -> Reverted:  # noqa: ARG002
        """Remove it, unless one was there before: that one, or the new one in its place, stays."""
        found = host.files.stat(self.folder)
        if found is not None and found.kind != "folder":
            self._drop(host, self._new, self._former)
            return Reverted(kept=f"{self.folder}: a {found.kind} took its place")
        if not before.get("existed"):
            self._drop(host, self.folder)
        elif host.files.stat(self.folder) is None and host.files.stat(self._former) is not None:
            host.files.rename(self._former, self.folder)
        self._drop(host, self._new, self._former)
        return Reverted()
