"""Make the Python environment that an install runs from: a lock's packages and this program."""

from __future__ import annotations

from typing import ClassVar

from local_opus import environment, program, resources
from local_opus.actions.base import Action, Inspection, Progress, Record, Reverted, State
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Sha256

#: The last file written: an environment without it is half-made.
MARKER = ".complete"
_MODE = 0o755
_BASE = ("local_opus.cli.choices", "local_opus.control")
#: What runs from the environment of each lock.
_LOADED = {
    "requirements.lock": _BASE,
    "requirements-openvino.lock": (*_BASE, "openvino"),
    "requirements-server.lock": (
        *_BASE,
        "local_opus.serve",
        "openvino_genai",
        "openvino_tokenizers",
    ),
}
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

    def summary(self) -> str:
        """Say what it does."""
        return f"create the environment {self.folder} (Python {self.python}, {self.lock})"

    def paths(self) -> tuple[str, ...]:
        """Name the folder."""
        return (self.folder,)

    def _marker(self) -> str:
        return f"{self.lock_sha256} {self.program_sha256}\n"

    def inspect(self, host: Host) -> Inspection:
        """A complete environment of the same lock and program is present."""
        found = host.files.stat(self.folder)
        if found is None:
            return Inspection(state=State.ABSENT, evidence="not there")
        if found.mode != _MODE:  # closed to the service, or others may have changed what is in it
            return Inspection(state=State.DIFFERENT, evidence=f"mode {found.mode:04o}")
        marker = f"{self.folder}/{MARKER}"
        python = f"{self.folder}/bin/python"
        if host.files.stat(marker) is None or host.files.stat(python) is None:
            return Inspection(state=State.DIFFERENT, evidence="half-made")
        if host.files.read_text(marker, 1024) != self._marker():
            return Inspection(state=State.DIFFERENT, evidence="made from another lock or program")
        return Inspection(state=State.PRESENT, evidence="complete")

    def capture(self, host: Host) -> Record:
        """A complete one is never overwritten, so there is nothing to keep."""
        return {"existed": host.files.stat(self.folder) is not None}

    def execute(self, host: Host, before: Record, progress: Progress) -> Record:  # noqa: ARG002
        """Make it anew; the marker comes last."""
        if host.files.stat(self.folder) is not None:
            host.files.remove_tree(self.folder)
        host.files.make_folder(self.folder, mode=_MODE)
        self._install_packages(host, progress)
        progress("copy the program", 0, None)
        self._copy_program(host)
        if not host.is_image:  # the program of an image can't be started here
            progress("load the libraries", 0, None)
            self._load_libraries(host)
        host.files.sync_all()  # the marker must not outlive a power cut that the rest does not
        host.files.write_atomic(f"{self.folder}/{MARKER}", self._marker().encode())
        return {}

    def _install_packages(self, host: Host, progress: Progress) -> None:
        real = host.files.real_path(self.folder)
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
                kept = host.keep_log("pip", log)
                raise environment.failure(log, lock=self.lock, log=kept, python=python)

    def _package(self) -> str:
        return f"{self.folder}/lib/python{self.python}/site-packages/local_opus"

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
        python = f"{self.folder}/bin/python"
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
        """Remove it, unless it was there before."""
        found = host.files.stat(self.folder)
        if found is not None and found.kind != "folder":
            raise LocalOpusError(
                f"{self.folder}: a {found.kind} took the place of the environment",
                "Move it away and run this again.",
            )
        if found is not None and not before.get("existed"):
            host.files.remove_tree(self.folder)
        return Reverted()
