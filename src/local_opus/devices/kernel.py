"""The kernel's links: the driver that is bound, and the firmware that it loads."""

from __future__ import annotations

from local_opus.devices import fixes, packages
from local_opus.devices.case import Case, Found, broken, holds, noun, unknown
from local_opus.devices.platforms import NPU_MODULE, is_backported, is_older, text_of
from local_opus.values import Device, Fix, Needs

#: Kernel options that the modules come from.
_OPTIONS = {NPU_MODULE: "CONFIG_DRM_ACCEL_IVPU", "i915": "CONFIG_DRM_I915", "xe": "CONFIG_DRM_XE"}
_RUNNING = ("loaded", "built in")


def driver(case: Case) -> Found:
    """Judge whether the kernel is new enough and its driver bound."""
    bound = case.item.driver
    if case.listed:
        return holds(f"{bound or 'a driver'} serves it{case.on_kernel}")
    if bound is None:
        return _unbound(case)
    if bound not in case.platform.drivers:
        fix = fixes.rebind(bound, case.platform.drivers[0], case.item.pci_address)
        return broken(f"the driver {bound} holds it", fix)
    if _too_old(case):
        # Bound all the same: a driver from DKMS, perhaps, so that the number says little.
        return unknown(f"{bound} is bound, and {_old(case)}", _newer(case), likely=True)
    if bound == "xe" and case.platform.drivers[0] == "i915":
        fix = _to_i915(case)
        return unknown(
            f"xe is bound{case.on_kernel}; i915 is the default for {case.title}, and "
            "compute runtimes have refused it with xe",
            fix,
            likely=True,
        )
    return holds(f"{bound} is bound{case.on_kernel}")


def _to_i915(case: Case) -> Fix:
    number = case.item.pci_id.rpartition(":")[2]
    words = f"i915.force_probe={number} xe.force_probe=!{number}"
    return Fix(
        text=f"Boot with {words} on the kernel's command line, so that i915 takes it.",
        needs=Needs.REBOOT,
    )


def _too_old(case: Case) -> bool:
    kernel = case.facts.os.kernel
    # A bound driver with force_probe was chosen by someone: its kernel is not too old for him.
    least = (
        case.platform.kernel
        if case.item.driver is None
        else (case.platform.forced or case.platform.kernel)
    )
    return is_older(kernel, least) and not is_backported(kernel)


def _old(case: Case) -> str:
    least = case.platform.kernel or ()
    return (
        f"{case.kernel} is older than {text_of(least)}, the first that is known to serve "
        f"{case.title}"
    )


def _newer(case: Case) -> Fix:
    least = text_of(case.platform.kernel) if case.platform.kernel else None
    return fixes.newer_kernel(case.facts, least, case.platform.drivers[0])


def _unbound(case: Case) -> Found:
    """Return why no driver is bound, from the kernel's number and the state of the modules."""
    facts, wanted = case.facts, case.platform.drivers
    number = case.item.pci_id.rpartition(":")[2]
    if _too_old(case):
        if case.platform.forced and not is_older(facts.os.kernel, case.platform.forced):
            least = text_of(case.platform.kernel or ())
            return broken(
                f"no driver is bound: {case.kernel} has {wanted[0]} serve {case.title} "
                "only when told to",
                fixes.force_probe(facts, wanted[0], number, least),
            )
        return broken(f"no driver is bound: {_old(case)}", _newer(case))
    states = {name: facts.software.modules.get(name, "not told") for name in wanted}
    running = [name for name, state in states.items() if state in _RUNNING]
    if running and _firmware_is_missing(case):
        return holds(
            f"the module {running[0]} is {states[running[0]]}{case.on_kernel}; it gave the "
            "device up (see firmware)"
        )
    there = [name for name, state in states.items() if state == "available"]
    # A GPU's second driver does not take over where the first only waits to be loaded.
    if running and not (there and there[0] == wanted[0]):
        return broken(
            f"the module {running[0]} is {states[running[0]]}, and is not bound to it",
            _gave_up(case, running[0]),
        )
    if there:
        return broken(
            f"the module {there[0]} is there, and is not loaded", fixes.load_module(facts, there[0])
        )
    if all(state == "missing" for state in states.values()):
        return broken(
            f"{case.kernel} has no module {' or '.join(wanted)}",
            fixes.missing_module(facts, wanted[0], _OPTIONS[wanted[0]]),
        )
    fix = fixes.load_module(facts, wanted[0])
    return broken(
        "no kernel driver is bound to it",
        fix.model_copy(
            update={
                "text": f"{fix.text} A kernel without {wanted[0]} must be replaced by a newer one."
            }
        ),
    )


def _gave_up(case: Case, module: str) -> Fix:
    known = case.platform.kernel is not None or case.item.name is not None
    before = "" if known else f"This kernel's {module} may be too old for {case.item.pci_id}. "
    return fixes.kernel_log(case.facts, noun(case.item.kind), before)


def _firmware_is_missing(case: Case) -> bool:
    """Say whether the file that the driver asks for is known not to be there."""
    return (
        case.platform.firmware is not None
        and not case.item.firmware
        and not fixes.in_container(case.facts)
    )


def firmware(case: Case) -> Found:
    """Judge whether the firmware is loaded.

    intel_vpu and xe boot the firmware before they make a node, and give the device up when it is
    missing. i915 makes its node without it, too.
    """
    item, name = case.item, case.platform.firmware
    if case.listed:
        return holds(_files(case) or "it runs: OpenVINO lists the device")
    if item.node is not None and item.driver in {NPU_MODULE, "xe"}:
        made = f"{item.driver} made {item.node}, which it does with firmware only"
        return holds(_files(case) or made)
    log = fixes.kernel_log(case.facts, noun(item.kind))
    look = f"`{log.commands[0]}` tells"
    if fixes.in_container(case.facts) and not item.firmware:
        return unknown(f"a container does not show its host's /lib/firmware; there {look}", log)
    if item.node is not None and item.firmware:
        return holds(_files(case))
    if item.firmware:
        return unknown(f"{_files(case)}; whether it was loaded, {look}", log)
    if item.kind is Device.NPU or name is not None:
        return _missing(case, name or "intel/vpu/")
    if item.node is not None and case.platform.optional_firmware:
        return holds(f"{item.driver} drives this generation without any, too")
    return unknown(f"not told; {look}", log)


def _missing(case: Case, wanted: str) -> Found:
    evidence = f"/lib/firmware has no {wanted}"
    install = packages.npu_firmware if case.item.kind is Device.NPU else packages.gpu_firmware
    fix = install(case.facts, wanted)
    if case.item.node is None:
        return broken(evidence, fix)
    # It may have come from elsewhere: the initial RAM disk, the kernel itself.
    return unknown(f"{evidence}; {case.item.driver} makes its node without it", fix, likely=True)


def _files(case: Case) -> str:
    """Return the file that the driver asks for first, or an older one of those that are there."""
    begin = (case.platform.firmware or "").rpartition(".")[0]
    files = sorted(case.item.firmware, key=lambda path: f"/{begin}." not in path)
    return files[0] if files else ""
