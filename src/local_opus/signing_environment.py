"""The environment that signing runs in: made at its first use, as the installer makes its own.

The signature library brings two dozen packages that nothing else needs. It lies in the folder of
the program, and goes with it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from local_opus import bootstrap, resources
from local_opus.bootstrap.steps import Screen
from local_opus.errors import MachineCannotError
from local_opus.host import Host

#: What it takes of the disk in MB, by du on ext4 with Python 3.11 on x86-64, its byte code too.
SIZE_MB = 60
_AHEAD = "`local-opus models sign --prepare` makes it ahead; see docs/signing.md for how, offline"


@contextmanager
def workers(host: Host, screen: Screen) -> Iterator[str]:
    """Run workers where the signature library is; give that Python.

    Where the library is among this program's own packages, that is here. Else an environment is
    made from its lock, once. Raises LocalOpusError where that can't be.
    """
    if importlib.util.find_spec("model_signing") is not None:
        yield sys.executable
        return
    try:
        environment, descriptor = bootstrap.ready(
            str(resources.folder("locks")), "signing", host.environ, screen
        )
    except MachineCannotError as error:
        error.remedy += f"; {_AHEAD}"
        raise
    before = host.processes.worker_python
    host.processes.worker_python = environment.python
    try:
        yield environment.python
    finally:
        host.processes.worker_python = before
        os.close(descriptor)
