"""Whether the clock can be right: certificates and the order of the receipt rest on it."""

from __future__ import annotations

from datetime import datetime, timedelta

from local_opus import resources
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.facts import system
from local_opus.values import Fix

#: A receipt of another machine's disk may be a little ahead.
_TOLERANCE = timedelta(minutes=5)
_SET = ("sudo timedatectl set-ntp true",)


def ask(context: Context) -> Answer:
    """Compare it with what is surely past, and ask the kernel whether it is kept."""
    now = datetime.fromisoformat(context.host.now())
    shown = f"{now:%Y-%m-%d %H:%M} UTC"
    fix = advise("Set the clock.", *_SET)
    year, why = _past()
    if now.year < year:
        return failed(f"{shown}, and {why} is of {year}", fix)
    last = _last_record(context)
    if last is not None and last > now + _TOLERANCE:
        return failed(f"{shown}, and the receipt was written at {last:%Y-%m-%d %H:%M} UTC", fix)
    kept = context.host.clock_kept()
    if kept is False:
        return warned(
            f"{shown}; plausible, but nothing keeps it (the kernel says: unsynchronised)",
            _keep(context),
        )
    how = "kept by the network's time" if kept else "whether it is kept is not told"
    return passed(f"{shown}, {how}")


def _keep(context: Context) -> Fix:
    """Return how to have the clock kept, on what it is kept by."""
    os = system.parse(system.read(context.host))
    if os.container is not None:
        return advise("It is the clock of the machine below this container: have it kept there.")
    if os.systemd_running:
        return advise("Have it kept by the network's time.", *_SET)
    return advise("Run a program that keeps it by the network's time, e.g. chrony.")


def _past() -> tuple[int, str]:
    """Return a year that has surely come: OpenVINO's versions begin with it."""
    for line in resources.read("locks", "requirements-openvino.lock").splitlines():
        if line.startswith("openvino=="):
            version = line.split()[0].removeprefix("openvino==")
            return int(version.split(".")[0]), f"OpenVINO {version}"
    raise ValueError("the lock names no openvino")


def _last_record(context: Context) -> datetime | None:
    try:
        records = context.journal().receipt.records
    except NotApplicableError:
        return None
    try:
        return datetime.fromisoformat(records[-1].at) if records else None
    except ValueError:  # of a version that wrote it otherwise
        return None


CHECK = Check("clock", "clock", Group.MACHINE, ask)
