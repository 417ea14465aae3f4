"""Failures that users reported: each leads to its link and to its remedy, where facts tell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from chain_facts import (
    DRIVER_PATH,
    NO_OPENCL,
    Facts,
    all_chains,
    chain,
    facts,
    gpu,
    gpu_machine,
    library,
    listed,
    npu,
    npu_machine,
    right,
    unbind,
    unlist,
    uuid,
    wrong,
)

from local_opus.values import Device, LinkName, LinkState, Needs, TinyInference


@dataclass
class Case:
    """A machine, and what its chain of ``kind`` must say."""

    kind: str
    machine: Callable[[], Facts]
    link: LinkName
    evidence: str
    fix: str
    needs: Needs = Needs.NOTHING
    tiny: TinyInference | None = None


def changed(machine: Facts, **of_item: Any) -> Facts:
    machine["accelerators"][0].update(of_item)
    return unlist(machine, machine["accelerators"][0]["kind"])


def with_software(machine: Facts, **parts: Facts) -> Facts:
    for part, values in parts.items():
        machine["software"][part].update(values)
    return unlist(machine, machine["accelerators"][0]["kind"])


def on(machine: Facts, **os: object) -> Facts:
    machine["os"].update(os)
    return machine


def modules(machine: Facts, **states: str) -> Facts:
    machine = unlist(unbind(machine), machine["accelerators"][0]["kind"])
    machine["software"]["modules"] = states
    return machine


def gen9(**more: Any) -> Facts:
    machine = gpu_machine()
    return changed(machine, pci_id="8086:3e92", driver="i915", firmware=[], **more)


def stale(name: str) -> Facts:
    return {"libze_intel_vpu.so.1": library(name, "1.13.0")}


def igdrcl(version: str) -> Facts:
    return {"libigdrcl.so": {"path": DRIVER_PATH, "version": version}}


DENIED = "permission denied"
GONE = "no such file or directory"
ELF = "MAPPED_INFERENCE_VERSION is NOT compatible with the ELF Expected: 6.1.0 vs received: 7.0.0"
CREATE = "Compilation failed. Level0 pfnCreate2 result: ZE_RESULT_ERROR_UNSUPPORTED_FEATURE"
LOST = "ZE_RESULT_ERROR_DEVICE_LOST, code 0x70000001"
UNINITIALIZED = "ZE_RESULT_ERROR_UNINITIALIZED, code 0x78000001"

CASES = {
    # -- permission ----------------------------------------------------------------------------
    "the user is not in render": Case(
        "NPU", lambda: changed(npu_machine(), node_problem=DENIED), LinkName.PERMISSION,
        "/dev/accel/accel0: permission denied (group render, mode 0660)",
        "usermod -aG render $USER", Needs.NEW_LOGIN),
    "the node belongs to video": Case(
        "GPU", lambda: changed(gpu_machine(), node_problem=DENIED, node_group="video"),
        LinkName.PERMISSION, "group video", "usermod -aG video $USER", Needs.NEW_LOGIN),
    "the node belongs to root": Case(
        "NPU", lambda: changed(npu_machine(), node_problem=DENIED, node_group="root"),
        LinkName.PERMISSION, "group root", 'SUBSYSTEM=="accel", KERNEL=="accel*", GROUP="render"'),
    "the group may not open the node": Case(
        "GPU", lambda: changed(gpu_machine(), node_problem=DENIED, node_mode="0600"),
        LinkName.PERMISSION, "mode 0600", 'SUBSYSTEM=="drm", KERNEL=="renderD*"'),
    "a container without the group": Case(
        "GPU", lambda: on(changed(gpu_machine(), node_problem=DENIED), container="docker"),
        LinkName.PERMISSION, "renderD128: permission denied", "--group-add", Needs.CONTAINER),
    "a container that may not": Case(
        "NPU", lambda: on(changed(npu_machine(), node_problem="operation not permitted",
                                  node_group="root"), container="podman"),
        LinkName.PERMISSION, "operation not permitted", "stat -c %g /dev/accel/accel0",
        Needs.CONTAINER),
    # -- firmware ------------------------------------------------------------------------------
    "the NPU's firmware is missing": Case(
        "NPU", lambda: changed(unbind(npu_machine()), firmware=[]), LinkName.FIRMWARE,
        "/lib/firmware has no intel/vpu/vpu_37xx_v1.bin", "sudo modprobe -r intel_vpu"),
    "the firmware is older than the compiler": Case(
        "NPU", npu_machine, LinkName.FIRMWARE, "the firmware is older than the compiler",
        "intel-fw-npu", tiny=wrong("NPU", ELF)),
    "the GPU's firmware is missing": Case(
        "GPU", lambda: changed(gpu_machine("Alchemist"), firmware=[]), LinkName.FIRMWARE,
        "/lib/firmware has no i915/dg2_guc_70.bin", "sudo apt install linux-firmware",
        Needs.REBOOT),
    # -- PCI -----------------------------------------------------------------------------------
    "the NPU is off in the BIOS": Case(
        "NPU", lambda: unlist(facts(model="Intel(R) Core(TM) Ultra 5 135H"), "NPU"), LinkName.PCI,
        "this processor has an NPU (Meteor Lake), the PCI bus does not show it", "BIOS",
        Needs.REBOOT),
    "WSL2": Case(
        "NPU", lambda: on(unlist(facts(model="Intel(R) Core(TM) Ultra 7 155H"), "NPU"),
                          container="wsl"),
        LinkName.PCI, "WSL2 has no NPU", "not supported"),
    # -- the kernel ----------------------------------------------------------------------------
    "a kernel without the option": Case(
        "NPU", lambda: on(modules(npu_machine(), intel_vpu="missing"), id="haos"),
        LinkName.DRIVER, "has no module intel_vpu", "CONFIG_DRM_ACCEL_IVPU", Needs.REBOOT),
    "the rest of Ubuntu's modules": Case(
        "NPU", lambda: modules(npu_machine(), intel_vpu="missing"), LinkName.DRIVER,
        "has no module intel_vpu", "linux-modules-extra-$(uname -r)"),
    "a module that is not loaded": Case(
        "NPU", lambda: modules(npu_machine(), intel_vpu="available"), LinkName.DRIVER,
        "the module intel_vpu is there, and is not loaded", "/etc/modprobe.d"),
    "a module that does not take the device": Case(
        "NPU", lambda: modules(npu_machine(), intel_vpu="loaded"), LinkName.DRIVER,
        "the module intel_vpu is loaded, and is not bound to it", "sudo dmesg"),
    "a GPU whose module waits, while another GPU's runs": Case(
        "GPU", lambda: modules(gpu_machine("Battlemage"), xe="available", i915="loaded"),
        LinkName.DRIVER, "the module xe is there, and is not loaded", "sudo modprobe xe"),
    "a kernel of which nothing is told": Case(
        "NPU", lambda: on(modules(npu_machine()), kernel=""), LinkName.DRIVER,
        "no kernel driver is bound to it", "Load the module intel_vpu"),
    "155H on a stock Ubuntu 22.04": Case(
        "GPU", lambda: on(modules(gpu_machine()), kernel="5.15.0-91-generic"), LinkName.DRIVER,
        "kernel 5.15.0-91-generic is older than 6.7", "HWE kernel", Needs.REBOOT),
    "a bound driver of a kernel before the first": Case(
        "NPU", lambda: on(changed(npu_machine()), kernel="6.5.0-14-generic"), LinkName.DRIVER,
        "older than 6.6, the first that is known to serve the NPU of Meteor Lake", "6.6 or newer",
        Needs.REBOOT),
    "a driver of DKMS on an old kernel, and no OpenCL loader": Case(
        "GPU", lambda: on(with_software(gpu_machine("Alchemist"),
                                        libraries={"libOpenCL.so.1": None}), kernel="5.15.0-91"),
        LinkName.LIBRARIES, "libOpenCL.so.1, the OpenCL loader, is not found",
        "sudo apt install ocl-icd-libopencl1"),
    "a backported driver is judged by itself": Case(
        "NPU", lambda: on(changed(npu_machine()), kernel="5.14.0-503.el9.x86_64"),
        LinkName.PLUGIN, "does not list it", "nothing here tells the cause"),
    "Battlemage on 6.11": Case(
        "GPU", lambda: on(modules(gpu_machine("Battlemage"), xe="loaded"), kernel="6.11.0-9"),
        LinkName.DRIVER, "only when told to", "xe.force_probe=e20b", Needs.REBOOT),
    "Battlemage on 6.8": Case(
        "GPU", lambda: on(modules(gpu_machine("Battlemage"), xe="available"), kernel="6.8.0-9"),
        LinkName.DRIVER, "older than 6.12", "kernel 6.12 or newer", Needs.REBOOT),
    "a virtual machine has the GPU": Case(
        "GPU", lambda: changed(gpu_machine(), driver="vfio-pci", node=None), LinkName.DRIVER,
        "the driver vfio-pci holds it", "so that i915 gets it", Needs.REBOOT),
    "a strange driver has the NPU": Case(
        "NPU", lambda: changed(npu_machine(), driver="uio_pci_generic", node=None),
        LinkName.DRIVER, "the driver uio_pci_generic holds it", "uio_pci_generic/unbind"),
    "A770 on xe, 0 platforms": Case(
        "GPU", lambda: changed(gpu_machine("Alchemist"), driver="xe"), LinkName.DRIVER,
        "i915 is the default for the GPU of Alchemist", "i915.force_probe=56a0 xe.force_probe=!56a0", Needs.REBOOT),
    # -- the node ------------------------------------------------------------------------------
    "no render node": Case(
        "GPU", lambda: changed(gpu_machine(), node=None), LinkName.NODE,
        "its driver i915 made no device node", "sudo dmesg"),
    "udev did not run": Case(
        "GPU", lambda: changed(gpu_machine(), node_problem=GONE), LinkName.NODE, GONE,
        "udevadm trigger"),
    "a container without --device": Case(
        "NPU", lambda: on(changed(npu_machine(), node_problem=GONE), container="docker"),
        LinkName.NODE, GONE, "--device /dev/accel.", Needs.CONTAINER),
    "the NPU was lost": Case(
        "NPU", lambda: changed(npu_machine(), node_problem="input/output error"), LinkName.NODE,
        "does not open: input/output error", "sudo dmesg"),
    # -- the user space ------------------------------------------------------------------------
    "OpenVINO misses libOpenCL": Case(
        "GPU", lambda: unlist(gpu_machine() | {"software": {}}, "GPU", NO_OPENCL),
        LinkName.LIBRARIES, "libOpenCL.so.1: cannot open shared object file",
        "sudo apt install ocl-icd-libopencl1 intel-opencl-icd"),
    "no OpenCL loader": Case(
        "GPU", lambda: with_software(gpu_machine(), libraries={"libOpenCL.so.1": None}),
        LinkName.LIBRARIES, "libOpenCL.so.1, the OpenCL loader, is not found",
        "sudo apt install ocl-icd-libopencl1"),
    "only a CPU's OpenCL": Case(
        "GPU", lambda: unlist(gpu_machine() | {"software": {
            "libraries": {"libOpenCL.so.1": library("libOpenCL.so.1")},
            "icds": {"/etc/OpenCL/vendors/intel64.icd": "/opt/intel/libintelocl.so"}}}, "GPU"),
        LinkName.LIBRARIES, "names Intel's GPU driver; it has libintelocl.so", "intel-opencl-icd"),
    "an ICD file whose library is gone": Case(
        "GPU", lambda: with_software(gpu_machine(), libraries={"libigdrcl.so": None}),
        LinkName.LIBRARIES, f"names {DRIVER_PATH}, which is not found", "intel-opencl-icd"),
    "Debian 12 with Meteor Lake": Case(
        "GPU", lambda: on(with_software(gpu_machine(), libraries=igdrcl("22.43.24595.41-1")),
                          id="debian", version="12", kernel="6.12.1-amd64"),
        LinkName.LIBRARIES, "compute runtime 22.43.24595.41-1 is older than 23",
        "newer Debian"),
    "Gen9 with a runtime of today": Case(
        "GPU", lambda: with_software(gen9(), libraries=igdrcl("25.31.34666")),
        LinkName.LIBRARIES, "no longer serves the GPU of a generation before Xe", "legacy1"),
    "Gen9 with a runtime of yesterday and a kernel of today": Case(
        "GPU", lambda: with_software(gen9(), libraries=igdrcl("22.43.24595")),
        LinkName.LIBRARIES, "finds no GPU on kernel 7.0.0-31-generic", "legacy1"),
    "no NPU library at all, in a container": Case(
        "NPU", lambda: on(with_software(npu_machine(), libraries=dict.fromkeys(
            ("libze_loader.so.1", "libze_intel_npu.so.1", "libnpu_driver_compiler.so",
             "libopenvino_intel_npu_compiler.so"))), container="docker"),
        LinkName.LIBRARIES, "libze_loader.so.1, the Level Zero loader, is not found",
        "./intel-level-zero-npu_*.deb ./intel-driver-compiler-npu_*.deb"),
    "a loader that is too old": Case(
        "NPU", lambda: with_software(npu_machine(), libraries={
            "libze_loader.so.1": library("libze_loader.so.1", "1.8.12")}),
        LinkName.LIBRARIES, "Level Zero loader 1.8.12 is older than 1.10", "libze1"),
    "a loader that does not know the driver's name": Case(
        "NPU", lambda: with_software(npu_machine(), libraries={
            "libze_loader.so.1": library("libze_loader.so.1", "1.16.15")}),
        LinkName.LIBRARIES, "it does not look for libze_intel_npu.so.1", "libze1"),
    "a stale driver beside the new one": Case(
        "NPU", lambda: with_software(npu_machine(), libraries=stale("libze_intel_vpu.so.1")),
        LinkName.LIBRARIES, "libze_intel_vpu.so.1 of an older driver lies beside",
        "sudo rm /usr/lib/x86_64-linux-gnu/libze_intel_vpu.so.1*"),
    "only the stale driver": Case(
        "NPU", lambda: with_software(npu_machine(), libraries={
            **stale("libze_intel_vpu.so.1"), "libze_intel_npu.so.1": None}),
        LinkName.LIBRARIES, "of a driver older than 1.16", "intel-level-zero-npu"),
    "Panther Lake with driver 1.19": Case(
        "NPU", lambda: with_software(npu_machine("Panther Lake"), libraries={
            "libze_intel_npu.so.1": library("libze_intel_npu.so.1", "1.19.0")}),
        LinkName.LIBRARIES, "1.19.0 is older than 1.28, the first for the NPU of Panther Lake",
        "linux-npu-driver/releases"),
    "a driver without its compiler": Case(
        "NPU", lambda: with_software(npu_machine(), libraries={
            "libnpu_driver_compiler.so": None, "libopenvino_intel_npu_compiler.so": None}),
        LinkName.LIBRARIES, "the NPU's compiler is not found", "intel-driver-compiler-npu"),
    "listed, and no compiler": Case(
        "NPU", lambda: npu_machine() | {"openvino": {
            "version": "2026.4.1", "problem": None,
            "devices": [listed("NPU", NPU_COMPILER_VERSION=0)]}},
        LinkName.LIBRARIES, "OpenVINO tells its version as 0", "intel-driver-compiler-npu"),
    "listed, and does not compile": Case(
        "NPU", npu_machine, LinkName.LIBRARIES, "compiler is missing or of another release",
        "intel-driver-compiler-npu", tiny=wrong("NPU", CREATE)),
    # -- OpenVINO ------------------------------------------------------------------------------
    "no OpenVINO": Case(
        "NPU", lambda: npu_machine() | {"openvino": {
            "version": None, "devices": [], "problem": "not installed"}},
        LinkName.PLUGIN, "OpenVINO does not answer: not installed", "Repair OpenVINO"),
    "the query crashed": Case(
        "NPU", lambda: npu_machine() | {"openvino": {
            "version": "2026.4.1", "devices": [listed("CPU")], "problem": "ended (SIGSEGV)"}},
        LinkName.PLUGIN, "asking OpenVINO for all devices failed: ended (SIGSEGV)",
        "linux-npu-driver/releases"),
    "no OpenVINO, and firmware that may be missing": Case(
        "GPU", lambda: changed(gpu_machine("Alchemist"), firmware=[]) | {"openvino": {
            "version": None, "devices": [], "problem": "not installed"}},
        LinkName.PLUGIN, "OpenVINO does not answer", "Repair OpenVINO"),
    "the query crashed, and a bound driver that may be too old": Case(
        "NPU", lambda: on(npu_machine(), kernel="6.5.0-1") | {"openvino": {
            "version": "2026.4.1", "devices": [], "problem": "ended (SIGSEGV)"}},
        LinkName.PLUGIN, "SIGSEGV", "6.6 or newer", Needs.REBOOT),
    "everything is there, and still no NPU": Case(
        "NPU", lambda: unlist(npu_machine("Arrow Lake"), "NPU", "No available backend"),
        LinkName.PLUGIN, "OpenVINO 2026.4.1 does not list it: No available backend",
        "No link before the plugin is broken, and nothing here tells the cause."),
    "a GPU for which nothing is left": Case(
        "GPU", lambda: changed(gpu_machine("Battlemage")), LinkName.PLUGIN,
        "no supported devices found", "Resizable BAR"),
    # -- the inference -------------------------------------------------------------------------
    "the NPU is lost at an inference": Case(
        "NPU", npu_machine, LinkName.INFERENCE, "DEVICE_LOST", "sudo modprobe -r intel_vpu",
        tiny=wrong("NPU", LOST)),
    "the code of a missing driver at an inference": Case(
        "NPU", npu_machine, LinkName.INFERENCE, "UNINITIALIZED", "sudo dmesg",
        tiny=wrong("NPU", UNINITIALIZED)),
    "it ran on the CPU": Case(
        "GPU", gpu_machine, LinkName.INFERENCE, "it ran on CPU, not on GPU", "compute runtime",
        tiny=wrong("GPU", "it ran on CPU, not on GPU")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_leads_to_its_link_and_its_remedy(name: str) -> None:
    case = CASES[name]
    found = chain(case.machine(), case.kind, *([case.tiny] if case.tiny else []))
    assert found.broken is not None
    assert found.fix is not None
    words = " ".join((found.fix.text, *found.fix.commands))
    assert (found.broken.name, found.fix.needs) == (case.link, case.needs)
    assert case.evidence in found.broken.evidence
    assert case.fix in words
    assert "\n" not in words + found.broken.evidence


def test_a_container_hides_the_firmware_of_its_host() -> None:
    machine = on(changed(unbind(npu_machine()), firmware=[]), container="docker")
    found = chain(machine, "NPU")
    assert found.broken is not None
    assert found.broken.name is LinkName.DRIVER
    bound = on(changed(gpu_machine("Alchemist"), firmware=[]), container="docker")
    firmware = next(one for one in chain(bound, "GPU").links if one.name is LinkName.FIRMWARE)
    assert firmware.state is LinkState.UNKNOWN
    assert "host's /lib/firmware" in firmware.evidence


@pytest.mark.parametrize("name", ["vpu_37xx_v1.bin.zst", "vpu_37xx_v0.0.bin", "vpu_37xx_v1.bin.xz"])
def test_compressed_and_older_firmware_is_firmware(name: str) -> None:
    machine = changed(npu_machine(), node=None, firmware=[f"/lib/firmware/intel/vpu/{name}"])
    found = chain(machine, "NPU")
    firmware = next(one for one in found.links if one.name is LinkName.FIRMWARE)
    assert firmware.state is LinkState.UNKNOWN
    assert name in firmware.evidence
    assert found.broken is not None
    assert found.broken.name is LinkName.NODE


def test_what_was_ruled_out_is_told() -> None:
    found = chain(unlist(npu_machine("Arrow Lake"), "NPU", "No available backend"), "NPU")
    states = {link.name: link.state for link in found.links}
    before = [name for name in states if name not in {LinkName.PLUGIN, LinkName.INFERENCE}][:7]
    assert {states[name] for name in before} == {LinkState.HOLDS}
    assert found.fix is not None
    assert any("dmesg" in command for command in found.fix.commands)


def test_two_gpus_and_an_npu() -> None:
    machine = facts(gpu(), gpu("Battlemage", "0000:03:00.0"), npu(), model="Core Ultra 7 155H")
    machine["accelerators"][1].update(node_problem=DENIED, node="/dev/dri/renderD129")
    machine["openvino"]["devices"] = [
        one for one in machine["openvino"]["devices"] if one["name"] != "GPU.1"
    ]
    found = all_chains(machine, right("GPU.0"))
    assert [(one.device, one.pci_address, one.openvino_name) for one in found] == [
        (Device.CPU, None, "CPU"), (Device.GPU, "0000:00:02.0", "GPU.0"),
        (Device.GPU, "0000:03:00.0", None), (Device.NPU, "0000:00:0b.0", "NPU")]  # fmt: skip
    assert [one.broken.name if one.broken else None for one in found] == [
        None, None, LinkName.PERMISSION, None]  # fmt: skip
    assert found[1].links[-1].state is LinkState.HOLDS
    assert found[3].links[-1].state is LinkState.UNKNOWN


def test_a_listed_card_shows_that_the_other_has_its_user_space() -> None:
    machine = facts(gpu("Alchemist"), gpu("Alchemist", "0000:81:00.0")) | {"software": {}}
    devices = machine["openvino"]["devices"]
    machine["openvino"]["devices"] = [one for one in devices if one["name"] != "GPU.1"]
    second = all_chains(machine)[2]
    assert second.broken is not None
    assert second.broken.name is LinkName.PLUGIN
    libraries = next(one for one in second.links if one.name is LinkName.LIBRARIES)
    assert (libraries.state, "GPU.0" in libraries.evidence) == (LinkState.HOLDS, True)


def state_of(machine: Facts, kind: str, name: LinkName, *tiny: TinyInference) -> LinkState:
    return next(one.state for one in chain(machine, kind, *tiny).links if one.name is name)


def test_a_listed_npu_says_nothing_of_the_gpus_user_space() -> None:
    machine = facts(gpu(), npu()) | {"software": {}}
    assert state_of(unlist(machine, "GPU"), "GPU", LinkName.LIBRARIES) is LinkState.UNKNOWN


def test_a_right_inference_needs_no_word_of_a_compiler() -> None:
    machine = npu_machine()
    machine["openvino"]["devices"][-1]["properties"] = {"NPU_COMPILER_VERSION": 0}
    found = [state_of(machine, "NPU", LinkName.LIBRARIES, *tiny) for tiny in
             ([right("NPU")], [wrong("NPU", "the result is wrong")], [])]  # fmt: skip
    assert found == [LinkState.HOLDS, LinkState.BROKEN, LinkState.BROKEN]


@pytest.mark.parametrize(("name", "driver"), [(None, "1.28.0-1"), ("1.39.1", "1.19.0")])
def test_the_file_tells_the_drivers_version_before_the_package(
    name: str | None, driver: str
) -> None:
    machine = npu_machine("Panther Lake")
    libraries = machine["software"]["libraries"]
    libraries["libze_intel_npu.so.1"] = library("libze_intel_npu.so.1", name)
    machine["software"]["packages"] = {"intel-level-zero-npu": driver}
    assert state_of(unlist(machine, "NPU"), "NPU", LinkName.LIBRARIES) is LinkState.HOLDS


@pytest.mark.parametrize(("version", "state"), [
    ("1.13.0", LinkState.BROKEN), (None, LinkState.BROKEN), ("1.39.1", LinkState.HOLDS)])  # fmt: skip
def test_the_older_name_may_be_a_link_to_the_new_driver(
    version: str | None, state: LinkState
) -> None:
    machine = npu_machine()
    old = library("libze_intel_vpu.so.1", version)
    machine["software"]["libraries"]["libze_intel_vpu.so.1"] = old
    assert state_of(unlist(machine, "NPU"), "NPU", LinkName.LIBRARIES) is state


def test_gen9_with_the_runtime_and_the_kernel_of_yesterday() -> None:
    machine = on(with_software(gen9(), libraries=igdrcl("22.43.24595")), kernel="6.1.0-18-amd64")
    assert state_of(machine, "GPU", LinkName.LIBRARIES) is LinkState.HOLDS


def test_an_unknown_npu_whose_firmware_is_too_old() -> None:
    machine = npu_machine()
    machine["accelerators"][0].update(pci_id="8086:abcd", name=None)
    fix = chain(machine, "NPU", wrong("NPU", ELF)).fix
    assert fix is not None
    assert "intel/vpu/" in fix.text


def test_a_package_tells_that_the_driver_is_too_old() -> None:
    machine = npu_machine("Panther Lake")
    libraries = machine["software"]["libraries"]
    libraries["libze_intel_npu.so.1"] = library("libze_intel_npu.so.1")
    machine["software"]["packages"] = {"intel-npu-driver": "1.27.0"}
    assert state_of(unlist(machine, "NPU"), "NPU", LinkName.LIBRARIES) is LinkState.BROKEN


@pytest.mark.parametrize(("node", "state"), [
    ("/dev/dri/renderD128", LinkState.HOLDS), (None, LinkState.UNKNOWN)])  # fmt: skip
def test_i915_up_to_raptor_lake_goes_on_without_firmware(
    node: str | None, state: LinkState
) -> None:
    machine = changed(gpu_machine(), pci_id="8086:a7a0", firmware=[], node=node)
    assert state_of(machine, "GPU", LinkName.FIRMWARE) is state


def test_a_known_device_is_not_said_to_be_too_new() -> None:
    machine = modules(gpu_machine(), i915="loaded")
    machine["accelerators"][0]["pci_id"] = "8086:a7a0"
    fix = chain(machine, "GPU").fix
    assert fix is not None
    assert "too old" not in fix.text
    assert fix.commands == ("sudo dmesg | grep -i -E 'i915|xe |guc'",)
    npu_fix = chain(modules(npu_machine(), intel_vpu="loaded"), "NPU").fix
    assert npu_fix is not None
    assert npu_fix.commands == ("sudo dmesg | grep -i -E 'intel_vpu|ivpu'",)


def test_a_virtual_machine_without_any_has_the_cpu_alone() -> None:
    (found,) = all_chains(facts(model="Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"))
    assert (found.device, found.pci_address, found.openvino_name) == (Device.CPU, None, "CPU")
    assert [link.name for link in found.links] == [
        LinkName.PROCESSOR, LinkName.PLUGIN, LinkName.INFERENCE]  # fmt: skip


@pytest.mark.parametrize("kind", ["GPU", "NPU"])
def test_an_unknown_id_of_the_right_class(kind: str) -> None:
    machine = gpu_machine("Battlemage") if kind == "GPU" else npu_machine()
    item = {"pci_id": "8086:abcd", "name": None, "firmware": []}
    machine["accelerators"][0].update(item)
    machine["openvino"]["devices"][-1]["properties"] = {}
    found = chain(machine, kind, right(kind))
    assert (found.broken, found.name) == (None, f"Intel {kind} 8086:abcd, name unknown")
    unbound = chain(modules(machine, xe="loaded", i915="loaded", intel_vpu="loaded"), kind)
    assert unbound.broken is not None
    # The NPU's driver gives a device up without firmware, and names the file in the kernel's log.
    link = {"GPU": LinkName.DRIVER, "NPU": LinkName.DRIVER}[kind]
    assert unbound.broken.name is link
    assert unbound.fix is not None
    assert "may be too old for 8086:abcd" in unbound.fix.text


def test_a_foreign_gpu_is_none_of_ours() -> None:
    machine = facts(gpu())
    foreign = listed("GPU.1", "NVIDIA GeForce RTX 5090 (dGPU)",
                     DEVICE_ARCHITECTURE="GPU: vendor=0x10de arch=v12")  # fmt: skip
    machine["openvino"]["devices"] += [foreign]
    assert [one.openvino_name for one in all_chains(machine)] == ["CPU", "GPU"]


def test_a_gpu_that_only_openvino_shows() -> None:
    machine = facts(model="Intel(R) Core(TM) i7-1165G7")
    device = listed("GPU", "Intel(R) Iris(R) Xe Graphics (iGPU)", DEVICE_UUID=uuid("9a49"))
    machine["openvino"]["devices"] += [device]
    found = chain(on(machine, container="wsl"), "GPU", right("GPU"))
    assert [(link.name, link.state) for link in found.links] == [
        (LinkName.PCI, LinkState.UNKNOWN), (LinkName.PLUGIN, LinkState.HOLDS),
        (LinkName.INFERENCE, LinkState.HOLDS)]  # fmt: skip
    assert (found.openvino_name, found.broken) == ("GPU", None)


def test_amds_npu_takes_the_first_node() -> None:
    machine = changed(npu_machine(), node="/dev/accel/accel1", node_problem=DENIED)
    machine["foreign"] = [{"kind": "NPU", "pci_address": "0000:65:00.1", "pci_id": "1022:1502",
                           "driver": "amdxdna", "node": "/dev/accel/accel0"}]  # fmt: skip
    found = chain(machine, "NPU")
    assert found.broken is not None
    assert found.broken.evidence.startswith("/dev/accel/accel1: permission denied")
    alone = facts(model="AMD Ryzen 7 6800H") | {"foreign": machine["foreign"]}
    assert [one.device for one in all_chains(alone)] == [Device.CPU]


CPUS = {
    "an ARM": ({"architecture": "aarch64"}, LinkName.PROCESSOR, "not x86-64"),
    "without AVX2": ({"isa": []}, None, "without AVX2, so inference is slow"),
}


@pytest.mark.parametrize("case", CPUS)
def test_the_processor(case: str) -> None:
    change, link, words = CPUS[case]
    machine = facts()
    machine["cpu"].update(change)
    found = chain(machine, "CPU")
    assert (found.broken.name if found.broken else None) is link
    assert words in found.links[0].evidence


def test_a_cpu_that_openvino_does_not_list() -> None:
    machine = facts()
    machine["openvino"] = {"version": None, "devices": [], "problem": "libtbb.so.12: cannot open"}
    found = chain(machine, "CPU")
    assert found.broken is not None
    assert found.broken.name is LinkName.PLUGIN
    assert "libtbb.so.12" in found.broken.evidence
