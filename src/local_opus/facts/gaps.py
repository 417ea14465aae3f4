"""The difference between what sysfs shows and what OpenVINO can use, and why."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from local_opus.values import AcceleratorFacts, Device, DeviceFacts, HostFacts

_DRIVERS = {Device.GPU: ("xe", "i915"), Device.NPU: ("intel_vpu",)}
#: DEVICE_UUID of Intel's GPU driver begins with vendor and device id, little-endian.
_UUID = re.compile(r"8680([0-9a-f]{2})([0-9a-f]{2})")
#: What opening a node says when the user (EACCES) or the container (EPERM) may not.
_DENIED = ("permission denied", "operation not permitted")
_GPU_LIBRARIES = "Intel's OpenCL driver (Debian, Ubuntu: ocl-icd-libopencl1 intel-opencl-icd; "
_GPU_LIBRARIES += "Fedora: intel-opencl)"
#: The first is in the distributions, the others are debs of github.com/intel/linux-npu-driver.
_NPU_LIBRARIES = "libze1, intel-level-zero-npu, intel-driver-compiler-npu and intel-fw-npu "
_NPU_LIBRARIES += "(github.com/intel/linux-npu-driver/releases)"


@dataclass(frozen=True)
class Gap:
    """An accelerator that OpenVINO does not list: one line why, one line what to do."""

    accelerator: AcceleratorFacts
    reason: str
    remedy: str


def gaps(facts: HostFacts) -> tuple[Gap, ...]:
    """Return the accelerators that OpenVINO can't use.

    OpenVINO's devices are matched to sysfs by PCI id where the driver tells it, else by number;
    then those whose node does not open are taken to be the missing ones.
    """
    found = []
    for kind in (Device.GPU, Device.NPU):
        ours = [item for item in facts.accelerators if item.kind is kind]
        theirs = [item for item in facts.openvino.devices if _is(item, kind)]
        found += [_explain(item, facts) for item in _unmatched(ours, theirs)]
    return tuple(found)


def _is(device: DeviceFacts, kind: Device) -> bool:
    if device.name.partition(".")[0] != kind:
        return False
    # OpenVINO lists GPUs of other vendors too where their OpenCL driver is installed.
    architecture = str(device.properties.get("DEVICE_ARCHITECTURE", ""))
    return "vendor=" not in architecture or "vendor=0x8086" in architecture


def _pci_id(device: DeviceFacts) -> str | None:
    found = _UUID.match(str(device.properties.get("DEVICE_UUID", "")).casefold())
    return f"8086:{found[2]}{found[1]}" if found else None


def _unmatched(ours: list[AcceleratorFacts], theirs: list[DeviceFacts]) -> list[AcceleratorFacts]:
    ids = Counter(_pci_id(device) for device in theirs)
    rest = []
    for item in sorted(ours, key=lambda item: item.node_problem is not None):
        if ids[item.pci_id] > 0:
            ids[item.pci_id] -= 1
        else:
            rest.append(item)
    usable = {item.pci_address for item in rest[: ids[None]]}
    missing = {item.pci_address for item in rest} - usable
    return [item for item in ours if item.pci_address in missing]


def _explain(item: AcceleratorFacts, facts: HostFacts) -> Gap:
    module = " or ".join(_DRIVERS[item.kind])
    if item.driver is None:
        return Gap(item, "no kernel driver is bound to it",
                   f"Load the module {module}, or run a newer kernel that has it.")  # fmt: skip
    if item.driver not in _DRIVERS[item.kind]:
        return Gap(item, f"the driver {item.driver} holds it",
                   f"Bind it to {module} if this machine itself is to use it.")  # fmt: skip
    if item.node is None:
        return Gap(item, f"its driver {item.driver} made no device node",
                   "Look for its errors in the kernel's log: "
                   f"`sudo dmesg | grep {item.driver}`.")  # fmt: skip
    if item.node_problem is not None:
        return Gap(item, f"{item.node}: {item.node_problem}", _open_remedy(item, facts))
    if facts.openvino.version is None:
        return Gap(item, f"OpenVINO does not answer: {facts.openvino.problem}",
                   "Repair OpenVINO's environment first, then look again.")  # fmt: skip
    said = facts.openvino.problem or facts.openvino.absent.get(item.kind.value)
    reason = f"{item.node} opens, but OpenVINO does not list it"
    libraries = _GPU_LIBRARIES if item.kind is Device.GPU else _NPU_LIBRARIES
    return Gap(item, f"{reason}: {said}" if said else reason, f"Install or update {libraries}.")


def _open_remedy(item: AcceleratorFacts, facts: HostFacts) -> str:
    problem, node = item.node_problem or "", item.node or ""
    in_container = facts.os.container is not None
    if "no such file" in problem:
        if in_container:
            return f"Start the container with `--device {node.rpartition('/')[0]}`."
        return "Run `sudo udevadm trigger`: udev makes the device nodes."
    if problem not in _DENIED:
        return f"Look for errors in the kernel's log: `sudo dmesg | grep {item.driver}`."
    if in_container:
        return (f"Start the container with `--device {node}` and with `--group-add` "
                f"and the number that `stat -c %g {node}` prints.")  # fmt: skip
    if item.node_group in {None, "root"}:
        return "Add a udev rule that gives the node to the group render with mode 0660."
    return f"Run `sudo usermod -aG {item.node_group} $USER`, then log in again."
