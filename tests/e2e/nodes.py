"""The node that is installed on a machine: the README's commands, and what is asked of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from lab import INSIDE, MODEL
from machine import Done, Machine
from runs import Run
from tree import MACHINES_OWN

UNIT = "local-opus.service"
INSTALL = ("./installer", "--local-opus", "--model", MODEL, "--yes")
UNINSTALL = ("./installer", "uninstall", "--purge", "--yes")
#: Asked for a fact that a model of this size knows, and always the likeliest token taken.
QUESTION = ("local-opus", "chat", "What is the capital of France?", "--temperature", "0")
ANSWER = "Paris"
MODELS = f"/var/lib/local-opus/models/{MODEL}"
#: Paths that differ after an uninstall, and why that is right.
LEFT_OUT = {
    **MACHINES_OWN,
    f"{INSIDE}/.env": "the checkout's own environment, which runs ./installer",
    f"{INSIDE}/.env/*": "the same",
    f"{INSIDE}/*/__pycache__": "Python's byte code of the checkout",
    f"{INSIDE}/*/__pycache__/*": "the same",
    "/etc/group-": "groupadd's and groupdel's own copy of the file before",
    "/etc/gshadow-": "the same",
}
#: Paths that differ when a node was repaired or went on, and why.
RUNNING = {
    "/var/lib/local-opus/receipt.*": "the journal of what was done meanwhile",
    "/var/lib/private/local-opus-server": "the service's own, of its dynamic user",
    "/var/lib/private/local-opus-server/last-good.json": "the same",
    "/var/cache/private/local-opus-server": "the same",
    "/var/lib/private/local-opus-monitor": "the monitor's own, of its dynamic user",
    "/var/lib/private/local-opus-monitor/*": "what it saw",
    "/var/tmp/systemd-private-*-local-opus*": "each service's own, new at each start",
}


class Node:
    """One machine's node, in the system scope; ``pip`` is where pip finds packages."""

    def __init__(self, machine: Machine, pip: Mapping[str, str]) -> None:
        self.machine = machine
        # No test of the machine's services waits for a measurement.
        self._pip = {**pip, "LOCAL_OPUS_TUNE": "0"}

    # -- commands -------------------------------------------------------------------------------

    def call(self, *command: str, folder: str = INSIDE, timeout: int = 480) -> Done:
        """Run a command of the checkout to its end."""
        return self.machine.run(*command, folder=folder, environ=self._pip, timeout=timeout)

    def start(self, *command: str, folder: str = INSIDE) -> Run:
        """Begin a command of the checkout that is watched."""
        return Run(self.machine, *command, environ=self._pip, folder=folder)

    def install(self, *options: str) -> Done:
        """Run the install."""
        return self.call(*INSTALL, *options)

    def repair(self) -> list[str]:
        """Run the same install again, to a good end; return the actions that it did."""
        run = self.start(*INSTALL)
        code, said = run.end()
        assert code == 0, f"{run.events[-3:]}\n{said}"
        return [step for step in run.started() if step != "self-test"]

    def send(self, signal: str, *pids: str) -> None:
        """Send a signal to processes, as root."""
        self.shell(f"kill -{signal} {' '.join(pids)}")

    def shell(self, script: str) -> Done:
        """Run a script that does what it should."""
        done = self.machine.run("sh", "-ec", script)
        assert done.code == 0, done
        return done

    # -- questions ------------------------------------------------------------------------------

    def properties(self, *names: str) -> dict[str, str]:
        """Return what systemd says of the unit."""
        done = self.machine.run("systemctl", "show", f"--property={','.join(names)}", UNIT)
        assert done.code == 0, done
        return dict(line.split("=", 1) for line in done.out.splitlines())

    def assert_answers(self, *, user: str | None = None) -> None:
        """Ask the model over HTTP, with the installed command."""
        done = self.machine.run(*QUESTION, user=user)
        assert done.code == 0, done
        assert ANSWER in done.out

    def wait_ready(self, seconds: float = 30) -> dict[str, object]:
        """Return what status says as soon as the server is ready."""
        deadline = time.monotonic() + seconds
        while True:
            done = self.machine.run("local-opus", "status", "--json")
            if done.code == 0:
                found: dict[str, object] = json.loads(done.out)
                return found
            assert time.monotonic() < deadline, done
            time.sleep(0.2)

    def assert_settled(self) -> None:
        """It serves, it answers, and the same command finds nothing to do."""
        status = self.wait_ready()
        assert (status["how"], status["model"]) == ("systemd", MODEL)
        self.assert_answers()
        assert self.properties("UnitFileState") == {"UnitFileState": "enabled"}
        again = self.install()
        assert again.code == 0, again
        assert "no changes" in again.out, again

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Return inode, mtime and ctime of every file of weights."""
        script = (
            "import json, os, sys\n"
            "print(json.dumps({os.path.join(f, n): [s.st_ino, s.st_mtime_ns, s.st_ctime_ns]\n"
            " for f, _, names in os.walk(sys.argv[1]) for n in names\n"
            " for s in [os.lstat(os.path.join(f, n))]}))"
        )
        done = self.machine.run("python3", "-I", "-c", script, MODELS)
        assert done.code == 0, done
        return {path: tuple(stat) for path, stat in json.loads(done.out).items()}
