"""The last links: OpenVINO lists the device, and an inference on it is right."""

from __future__ import annotations

import re
from collections.abc import Sequence

from local_opus.devices import fixes, packages
from local_opus.devices.case import Case, Found, broken, holds, unknown
from local_opus.values import (
    Device,
    DeviceFacts,
    Fix,
    HostFacts,
    LinkName,
    LinkState,
    TinyInference,
)

#: "openvino 2026.4.1-22982-..." and the like, without the build.
_BUILD = re.compile(r"-.*")
#: A quoted path: its last part says enough.
_PATH = re.compile(r'"/[^"]*/([^"/]+)"')


def openvino_words(facts: HostFacts) -> str:
    """Return OpenVINO and its version."""
    return f"OpenVINO {_BUILD.sub('', facts.openvino.version or '')}".strip()


def shortened(said: str) -> str:
    """Return a plugin's words without the folders of its own files."""
    return _PATH.sub(r'"\1"', said)


def listing(facts: HostFacts, device: DeviceFacts) -> str:
    """Return that OpenVINO lists a device, and under which name."""
    return f"{openvino_words(facts)} lists it as {device.name}: {device.full_name}"


def unanswered(facts: HostFacts) -> Found | None:
    """Return the verdict where OpenVINO itself does not answer."""
    if facts.openvino.version is not None:
        return None
    return broken(
        f"OpenVINO does not answer: {facts.openvino.problem}",
        Fix(text="Repair OpenVINO's environment: install again.", commands=("local-opus install",)),
    )


def plugin(case: Case, before: Sequence[tuple[LinkName, Found]]) -> Found:
    """Judge whether OpenVINO lists the device; ``before`` are the links that lead to it."""
    facts = case.facts
    if case.match is not None:
        return holds(f"{listing(facts, case.match.device)} (known by {case.match.how})")
    if case.asked_without_right:
        return unknown("OpenVINO was asked as this user, who may not open the node")
    if (silent := unanswered(facts)) is not None:
        return silent
    if facts.openvino.problem is not None:
        return broken(
            f"asking OpenVINO for all devices failed: {facts.openvino.problem}",
            _suspect(before) or _driver_update(case),
        )
    said = f": {shortened(case.said)}" if case.said else ""
    return broken(
        f"{openvino_words(facts)} does not list it{said}", _suspect(before) or _search(case)
    )


def blames_another(case: Case) -> bool:
    """Say whether OpenVINO was asked well, and what it does not list must fail before it."""
    openvino = case.facts.openvino
    asked = openvino.version is not None and openvino.problem is None
    return asked and not case.listed and not case.asked_without_right


def _suspect(before: Sequence[tuple[LinkName, Found]]) -> Fix | None:
    """Return the fix of the last link that nothing was known of: the likeliest culprit."""
    fixes_of = [found.fix for _, found in before if found.state is LinkState.UNKNOWN and found.fix]
    return fixes_of[-1] if fixes_of else None


def _driver_update(case: Case) -> Fix:
    if case.item.kind is Device.GPU:
        return packages.newer_gpu_driver(case.facts, case.platform.name)
    return packages.npu_libraries(case.facts, loader=False, driver=True, compiler=True)


def _search(case: Case) -> Fix:
    """Return where to look when every link before the plugin holds: the cause is not known."""
    text = "No link before the plugin is broken, and nothing here tells the cause. "
    if case.item.kind is Device.GPU:
        return Fix(
            text=f"{text}A BIOS without Resizable BAR and a compute runtime older than the "
            "card have looked like this.",
            commands=("clinfo -l", "sudo dmesg | grep -i -E 'i915|xe |guc|BAR'"),
        )
    return Fix(
        text=f"{text}Firmware, user-space driver, compiler and Level Zero loader of one release "
        f"({packages.NPU_RELEASES}) rule a mismatch out; the kernel's log may tell more.",
        commands=("sudo dmesg | grep -i -E 'intel_vpu|ivpu'", "ldconfig -p | grep -E 'libze_|npu'"),
    )


#: What a failed inference says, the link that it belongs to, and the words for it.
_TOLD = (
    ("mapped_inference_version", LinkName.FIRMWARE, "the firmware is older than the compiler"),
    ("elf expected", LinkName.FIRMWARE, "the firmware is older than the compiler"),
    ("pfncreate2", LinkName.LIBRARIES, "the NPU's compiler is missing or of another release"),
    ("vcl compiler", LinkName.LIBRARIES, "the NPU's compiler is missing or of another release"),
)


def told_by_inference(case: Case) -> tuple[LinkName, Found] | None:
    """Return the earlier link that a failed inference names as the broken one."""
    problem = _problem(case.tiny)
    if problem is None or case.item.kind is not Device.NPU:
        return None
    for words, name, meaning in _TOLD:
        if words in problem.casefold():
            fix = packages.npu_firmware(case.facts, case.platform.firmware or "intel/vpu/")
            if name is LinkName.LIBRARIES:
                fix = packages.npu_libraries(case.facts, loader=False, driver=True, compiler=True)
            return name, broken(f"{meaning}: {problem}", fix)
    return None


def inference(facts: HostFacts, tiny: TinyInference | None, kind: Device) -> Found:
    """Judge whether a small real inference ran on the device and was right."""
    if tiny is None:
        return unknown("not tried")
    problem = _problem(tiny)
    if problem is None:
        return holds(f"a small matrix product was right, on {tiny.ran_on}, in {tiny.seconds:.1f} s")
    if kind is Device.CPU:
        fix = Fix(
            text="Install again: OpenVINO's files may be damaged.", commands=("local-opus install",)
        )
    elif kind is Device.GPU:
        fix = fixes.kernel_log(facts, "i915|xe |guc", "Update Intel's compute runtime. ")
    elif "device_lost" in problem.casefold():
        fix = Fix(
            text="The NPU was lost: load its driver again; newer firmware avoids it.",
            commands=("sudo modprobe -r intel_vpu", "sudo modprobe intel_vpu"),
        )
    else:
        # The same code as a missing driver's comes from a full address space: the kernel tells.
        fix = fixes.kernel_log(
            facts, "intel_vpu|ivpu", "The NPU is listed, so its driver is there. "
        )
    return broken(problem, fix)


def _problem(tiny: TinyInference | None) -> str | None:
    if tiny is None or (tiny.right and tiny.problem is None):
        return None
    return shortened(tiny.problem or "the result is wrong")
