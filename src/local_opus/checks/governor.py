"""Whether the kernel lets the processor's clock rise under load."""

from __future__ import annotations

from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    passed,
    warned,
)
from local_opus.checks.context import Context

#: Drivers whose "powersave" scales with the load (Linux Documentation/admin-guide/pm/
#: intel_pstate.rst and amd-pstate.rst, active modes). Elsewhere it is the lowest frequency.
_ACTIVE = {"intel_pstate", "amd-pstate-epp", "amd_pstate_epp"}
#: Governors that hold the clock where it is, or low, whatever the load.
_HELD = {"powersave": "the lowest frequency", "userspace": "a frequency that was set by hand"}
_COMMAND = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


def ask(context: Context) -> Answer:
    """Judge the governors in use by their driver."""
    cpu = context.facts().cpu
    if not cpu.governors:
        raise NotApplicableError("the kernel scales no frequency here, as in most virtual machines")
    driver = cpu.scaling_driver or "unknown driver"
    said = f"{', '.join(cpu.governors)} of {driver}"
    if driver not in _ACTIVE:
        for governor in cpu.governors:
            if governor in _HELD:
                return warned(
                    f"{said}: holds the processor at {_HELD[governor]}",
                    advise("Let the clock rise; it lasts until the next boot.", _COMMAND),
                )
    if cpu.governors == ("performance",):
        return passed(said)
    return passed(f"{said}: rises with the load; performance holds it high (and draws more)")


CHECK = Check("governor", "CPU governor", Group.MACHINE, ask, SECONDS_WITH_FACTS)
