"""Facts of a machine on which every link holds, and small changes of them."""

from __future__ import annotations

from typing import Any

from local_opus.devices.chain import chains
from local_opus.values import Device, DeviceChain, HostFacts, TinyInference

Facts = dict[str, Any]

NPU_ADDRESS, GPU_ADDRESS = "0000:00:0b.0", "0000:00:02.0"
NPUS = {
    "Meteor Lake": ("7d1d", "3720", "37xx", "Intel(R) Core(TM) Ultra 7 155H"),
    "Arrow Lake": ("ad1d", "3720", "37xx", "Intel(R) Core(TM) Ultra 9 285K"),
    "Lunar Lake": ("643e", "4000", "40xx", "Intel(R) Core(TM) Ultra 7 256V"),
    "Panther Lake": ("b03e", "5010", "50xx", "Intel(R) Core(TM) Ultra X7 358H"),
    "Wildcat Lake": ("fd3e", "5020", "50xx", "Intel(R) Core(TM) 5 330"),
    "Nova Lake": ("d71d", "6010", "60xx", "Intel(R) Core(TM) Ultra 9 485K"),
}
#: Id, the kernel's driver, its firmware.
GPUS = {
    "Alchemist": ("56a0", "i915", "i915/dg2_guc_70.bin"),
    "Meteor Lake": ("7d55", "i915", "i915/mtl_guc_70.bin"),
    "Lunar Lake": ("64a0", "xe", "xe/lnl_guc_70.bin"),
    "Battlemage": ("e20b", "xe", "xe/bmg_guc_70.bin"),
    "Panther Lake": ("b080", "xe", "xe/ptl_guc_70.bin"),
}
GPU_ABSENT = (
    "[GPU] Can't get FULL_DEVICE_NAME property as no supported devices found or an error happened "
    "during devices query."
)
NO_OPENCL = (
    'Cannot load library "/opt/local-opus/lib/libopenvino_intel_gpu_plugin.so": libOpenCL.so.1: '
    "cannot open shared object file: No such file or directory"
)
DRIVER_PATH = "/usr/lib/x86_64-linux-gnu/intel-opencl/libigdrcl.so"


def library(name: str, version: str | None = None) -> Facts:
    return {"path": f"/usr/lib/x86_64-linux-gnu/{name}", "version": version}


def software() -> Facts:
    return {
        "modules": {"i915": "loaded", "xe": "loaded", "intel_vpu": "loaded"},
        "libraries": {
            "libze_loader.so.1": library("libze_loader.so.1", "1.34.0"),
            "libze_intel_npu.so.1": library("libze_intel_npu.so.1", "1.39.1"),
            "libze_intel_vpu.so.1": None,
            "libnpu_driver_compiler.so": library("libnpu_driver_compiler.so"),
            "libOpenCL.so.1": library("libOpenCL.so.1"),
            "libigdrcl.so": {"path": DRIVER_PATH, "version": "26.40.40196.8"},
        },
        "icds": {"/etc/OpenCL/vendors/intel.icd": DRIVER_PATH},
        "packages": {},
    }


def accelerator(kind: str, number: str, driver: str, firmware: str, address: str) -> Facts:
    node = "/dev/dri/renderD128" if kind == "GPU" else "/dev/accel/accel0"
    return {
        "kind": kind, "pci_address": address, "pci_id": f"8086:{number}", "name": f"a {kind}",
        "driver": driver, "node": node, "node_problem": None, "node_group": "render",
        "node_mode": "0660", "firmware": [f"/lib/firmware/{firmware}.zst"],
    }  # fmt: skip


def npu(generation: str = "Meteor Lake") -> Facts:
    number, _, file, _ = NPUS[generation]
    return accelerator("NPU", number, "intel_vpu", f"intel/vpu/vpu_{file}_v1.bin", NPU_ADDRESS)


def gpu(platform: str = "Meteor Lake", address: str = GPU_ADDRESS) -> Facts:
    number, driver, firmware = GPUS[platform]
    return accelerator("GPU", number, driver, firmware, address)


def listed(name: str, full_name: str = "", **properties: object) -> Facts:
    return {"name": name, "full_name": full_name or f"Intel {name}", "properties": properties}


def uuid(number: str) -> str:
    return f"8680{number[2:]}{number[:2]}" + "0" * 24


def facts(*items: Facts, model: str = "Intel(R) Xeon(R)", **more: Any) -> Facts:
    """Return a machine with these accelerators, each listed by OpenVINO."""
    devices = [listed("CPU", model)]
    many = sum(item["kind"] == "GPU" for item in items) > 1
    for number, item in enumerate(one for one in items if one["kind"] == "GPU"):
        name = f"GPU.{number}" if many else "GPU"
        devices.append(listed(name, DEVICE_UUID=uuid(item["pci_id"][5:])))
    if any(item["kind"] == "NPU" for item in items):
        devices.append(listed("NPU", "Intel(R) AI Boost", NPU_COMPILER_VERSION=458765))
    return {
        "cpu": {"model": model, "vendor": "GenuineIntel", "architecture": "x86_64", "sockets": 1,
                "physical_cores": 4, "logical_cores": 8, "usable_cores": 8, "isa": ["avx2", "fma"],
                "performance_cores": None, "efficiency_cores": None},
        "memory": {"total": 32 << 30, "available": 16 << 30, "cgroup_limit": None},
        "disk": {"path": "/", "total": 1, "free": 1, "free_inodes": None},
        "os": {"id": "ubuntu", "version": "26.04", "name": "Ubuntu", "kernel": "7.0.0-31-generic",
               "init": "systemd", "systemd_running": True, "container": None, "python": "3.11.7"},
        "accelerators": list(items),
        "openvino": {"version": "2026.4.1-22982-x", "devices": devices, "problem": None},
        "software": software(),
        **more,
    }  # fmt: skip


def npu_machine(generation: str = "Meteor Lake") -> Facts:
    return facts(npu(generation), model=NPUS[generation][3])


def gpu_machine(platform: str = "Meteor Lake") -> Facts:
    return facts(gpu(platform))


def unlist(machine: Facts, kind: str, said: str | None = None) -> Facts:
    """Have OpenVINO leave out every device of a kind, in its own words for that."""
    openvino = machine["openvino"]
    openvino["devices"] = [one for one in openvino["devices"] if not one["name"].startswith(kind)]
    words = GPU_ABSENT if kind == "GPU" else "Unsupported configuration key: FULL_DEVICE_NAME"
    openvino["absent"] = {kind: said or words}
    return machine


def unbind(machine: Facts) -> Facts:
    for item in machine["accelerators"]:
        item |= {"driver": None, "node": None, "node_group": None, "node_mode": None,
                 "node_problem": "no kernel driver is bound to it"}  # fmt: skip
    return machine


def right(device: str) -> TinyInference:
    return TinyInference(device=device, ran_on=device, right=True, problem=None, seconds=0.3)


def wrong(device: str, problem: str) -> TinyInference:
    return TinyInference(device=device, ran_on=device, right=False, problem=problem, seconds=0.3)


def all_chains(
    machine: Facts, *tiny: TinyInference, groups: frozenset[str] | None = None
) -> list[DeviceChain]:
    found = chains(HostFacts.model_validate(machine), tiny={one.device: one for one in tiny},
                   groups=groups)  # fmt: skip
    return list(found)


def chain(
    machine: Facts, kind: str, *tiny: TinyInference, groups: frozenset[str] | None = None
) -> DeviceChain:
    """Return the only chain of a kind."""
    (found,) = (one for one in all_chains(machine, *tiny, groups=groups)
                if one.device is Device(kind))  # fmt: skip
    return found
