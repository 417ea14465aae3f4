"""Worker: what the sandbox of its parent, the server, lets a process do.

Request: ``{"engine": pid or null, "weights": folder, "device": word, "state": folder or null,
"cache": folder or null}``. Result: a SandboxReport. Being a child of the server it is inside the
same namespaces, filter and control group. It opens no model and imports nothing native.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

from local_opus.errors import BadInputError
from local_opus.locations import Locations, locate
from local_opus.runtime import try_calls, try_files, try_network
from local_opus.runtime.worker import Emit, answer_one
from local_opus.values.base import Scope
from local_opus.values.sandbox import ProcessView, SandboxReport

#: The namespaces that a unit can have of its own.
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def handle(request: Mapping[str, object], _emit: Emit) -> Mapping[str, object]:
    """Try everything; return the report."""
    begin = time.monotonic()
    places = _places(request)
    processes = [_process("server", os.getppid())]
    engine = request.get("engine")
    if isinstance(engine, int):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended since
            processes.append(_process("engine", engine))
    tries = (
        *try_files.writes(places),
        *try_files.reads(places),
        *try_files.opens(places),
        *try_network.reaches(),
        *try_calls.calls(),
    )
    probes = tuple(one.made() for one in tries)
    egress = [probe for probe in probes if probe.id in try_network.EGRESS]
    names = try_network.interfaces()
    report = SandboxReport(
        processes=tuple(processes),
        interfaces=names,
        probes=probes,
        seconds=round(time.monotonic() - begin, 3),
        egress_tried=len(egress),
        egress_refused=sum(probe.allowed is False for probe in egress),
        packets_without_route=(
            try_network.packets_without_route() if set(names) <= {"lo"} else None
        ),
    )
    return report.model_dump(mode="json")


def _places(request: Mapping[str, object]) -> try_files.Places:
    weights = try_files.request_path(request, "weights") or "/"
    return try_files.Places(
        install=_install(weights),
        weights=weights,
        state=try_files.request_path(request, "state"),
        cache=try_files.request_path(request, "cache"),
        home=os.environ.get("HOME") or None,
        device=str(request.get("device", "")),
    )


def _install(weights: str) -> Locations:
    """Return where the install lies whose weights these are."""
    with suppress(BadInputError):  # no home: then there is no install of a user
        user = locate(Scope.USER, os.environ)
        if weights.startswith(f"{user.models}/"):
            return user
    return locate(Scope.SYSTEM, os.environ)


def _process(name: Literal["server", "engine"], pid: int) -> ProcessView:
    """Return the kernel's view. Raises FileNotFoundError where it has ended."""
    folder = f"/proc/{pid}"
    links = {}
    for kind in NAMESPACES:
        with suppress(PermissionError):
            links[kind] = os.readlink(f"{folder}/ns/{kind}")
    return ProcessView.read(name, pid, _text(f"{folder}/status"), _text(f"{folder}/uid_map"), links)


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


if __name__ == "__main__":
    sys.exit(answer_one(handle))
