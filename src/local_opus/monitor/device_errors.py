"""What the drivers of GPU and NPU say went wrong.

A driver whose device hung leaves a dump below /sys/class/devcoredump for five minutes (the kernel's
drivers/base/devcoredump.c), which names the device; and lines in the kernel's log, which root and
the groups adm and systemd-journal may read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.monitor.sight import Devices

_DUMPS = "/sys/class/devcoredump"
#: The drivers' names as lines of the kernel's log begin with or hold them (devices.kernel has the
#: facts): i915 and xe of GPUs, intel_vpu (ivpu) of the NPU.
_DRIVER = re.compile(r"\b(?:i915|xe|intel_vpu|ivpu)\b")
#: What tells of an error. A lone -2 for a firmware's name is noise: older kernels try two names.
_ERROR = re.compile(
    r"GPU HANG|\*ERROR\*|\bwedged\b|device lost|\breset\b.*\bfail|engine reset|timed? ?out"
    r"|TDR|devcoredump|fault", re.IGNORECASE,
)  # fmt: skip
_SECONDS = 10.0
_LINES = 20
_LONGEST = 200


def look(host: Host, since_seconds: float) -> Devices:
    """Return the dumps that are there, and errors in the kernel's log of the last seconds."""
    lines, skipped = _kernel_log(host, since_seconds)
    return Devices(dumps=_dumps(host), kernel=errors_in(lines), skipped=skipped)


def errors_in(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines that tell of an error of these drivers, the last ones, each once."""
    found = (line for line in lines if _DRIVER.search(line) and _ERROR.search(line))
    printable = ("".join(one for one in line if one.isprintable()) for line in found)
    return tuple(dict.fromkeys(line[:_LONGEST] for line in printable))[-_LINES:]


def _dumps(host: Host) -> tuple[str, ...]:
    try:
        names = host.files.list(_DUMPS)
    except OSError:  # a kernel without it
        return ()
    found = []
    for name in names:
        folder = f"{_DUMPS}/{name}/failing_device"
        driver = _last_of_link(host, f"{folder}/driver")
        if name.startswith("devcd") and driver in {"i915", "xe", "intel_vpu"}:
            found.append(f"{driver} left a crash dump, {name}")
    return tuple(found[:_LINES])


def _last_of_link(host: Host, path: str) -> str:
    try:
        return host.files.read_link(path).rpartition("/")[2]
    except OSError:
        return ""


def _kernel_log(host: Host, seconds: float) -> tuple[list[str], str | None]:
    """Return the last lines of the kernel's log; none, and why, where it can't be read."""
    since = f"-{max(1, round(seconds))}s"
    command = ["journalctl", "--dmesg", "--boot", "--quiet", "--no-pager", "--output=cat",
               f"--since={since}", "--lines=500"]  # fmt: skip
    if host.files.stat("/run/systemd/system") is None:
        return [], "no journal here"
    try:
        done = host.processes.run(command, timeout=_SECONDS)
    except LocalOpusError as error:  # no such program, or it hangs
        return [], error.message
    said = done.err.casefold()
    if done.code != 0 or "permission" in said or "not seeing messages" in said:
        return [], "the kernel's log is closed to this user"
    return done.out.splitlines(), None
