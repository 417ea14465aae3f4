"""A program on a terminal of its own, whose session it leads."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """Starts the program; ``close`` takes its terminal away. ``ignoring``: as under nohup."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        folder: Path | str,
        ignoring: Sequence[int] = (),
    ) -> None:
        self.master, slave = pty.openpty()

        def lead() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in ignoring:
                signal.signal(number, signal.SIG_IGN)

        self.child = subprocess.Popen(
            command, env=environ, cwd=folder, stdin=slave, stdout=slave, stderr=slave,
            preexec_fn=lead,  # noqa: PLW1509 - the tests have one thread here
        )  # fmt: skip
        os.close(slave)

    def close(self) -> int:
        """Close the terminal and return the exit code."""
        os.close(self.master)
        return self.child.wait(60)
