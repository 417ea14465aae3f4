"""The question to the probe's worker, for those who begin it before all else.

Facts are values of pydantic, whose import takes as long as OpenVINO's answer: a command that needs
both begins the worker first and imports meanwhile.
"""

from __future__ import annotations

from local_opus.host import BegunWorker, Host

#: Seconds. A device list takes less than one on a healthy machine.
TIMEOUT = 30.0


def begin(host: Host) -> BegunWorker:
    """Start the worker that asks OpenVINO for all devices; give it to ``facts.gather``."""
    request: dict[str, object] = {"devices": None, "cpu_name": False}
    return host.processes.begin_worker("probe", request, timeout=TIMEOUT)
