"""The fix in each distribution's words."""

from __future__ import annotations

import pytest
from chain_facts import Facts, chain, facts, gpu_machine, npu_machine, unbind, unlist

from local_opus.devices import fixes
from local_opus.values import HostFacts, Needs

UPSTREAM = "https://github.com/intel/linux-npu-driver/releases"


def lost(machine: Facts, *names: str) -> Facts:
    machine["software"]["libraries"].update(dict.fromkeys(names))
    return unlist(machine, machine["accelerators"][0]["kind"])


NO_OPENCL = {"libraries": {"libOpenCL.so.1": None}, "icds": {}}
MACHINES = {
    "GPU libraries": lambda: unlist(gpu_machine() | {"software": NO_OPENCL}, "GPU"),
    "NPU libraries": lambda: lost(npu_machine(), "libze_loader.so.1", "libze_intel_npu.so.1"),
    "NPU firmware": lambda: bare(npu_machine()),
    "NPU stack": lambda: lost(
        npu_machine(),
        "libze_loader.so.1",
        "libze_intel_npu.so.1",
        "libnpu_driver_compiler.so",
        "libopenvino_intel_npu_compiler.so",
    ),
    "GPU firmware": lambda: bare(gpu_machine("Battlemage")),
    "kernel": lambda: on_kernel(npu_machine(), "6.1.0"),
    "group": lambda: denied(npu_machine()),
}
#: What the fix's text and commands must hold, by distribution.
WORDS = {
    "debian 12": {
        "GPU firmware": ["sudo apt install firmware-misc-nonfree"],
        "NPU stack": ["the Level Zero loader, the NPU's user-space driver and the NPU's compiler"],
        "NPU libraries": [UPSTREAM, "oneapi-src/level-zero", "install ./level-zero_*.deb"],
    },
    "debian": {
        "GPU firmware": ["sudo apt install firmware-intel-graphics", "xe/bmg_guc_70.bin"],
        "GPU libraries": ["sudo apt install ocl-icd-libopencl1 intel-opencl-icd"],
        "NPU libraries": [UPSTREAM, "sudo apt install libze1 ./intel-level-zero-npu_*.deb"],
        "NPU firmware": ["sudo apt install ./intel-fw-npu_*.deb", UPSTREAM],
        "kernel": ["sudo apt update && sudo apt full-upgrade", "backports"],
        "group": ["sudo usermod -aG render $USER"],
    },
    "ubuntu": {
        "GPU firmware": ["sudo apt install linux-firmware"],
        "GPU libraries": ["sudo apt install ocl-icd-libopencl1 intel-opencl-icd"],
        "NPU libraries": [UPSTREAM, "sudo apt install libze1 ./intel-level-zero-npu_*.deb"],
        "NPU firmware": ["sudo apt install ./intel-fw-npu_*.deb"],
        "kernel": ["HWE"],
        "group": ["sudo usermod -aG render $USER"],
    },
    "pop": {"NPU libraries": ["sudo apt install libze1"], "kernel": ["sudo apt"]},
    "linuxmint": {"NPU libraries": ["sudo apt install libze1"], "kernel": ["sudo apt"]},
    "fedora": {
        "GPU firmware": ["sudo dnf install intel-gpu-firmware"],
        "NPU stack": ["oneapi-level-zero intel-npu-driver intel-npu-compiler"],
        "GPU libraries": ["sudo dnf install 'libOpenCL.so.1()(64bit)' intel-opencl"],
        "NPU libraries": ["sudo dnf install oneapi-level-zero intel-npu-driver", UPSTREAM],
        "NPU firmware": ["sudo dnf install intel-npu-firmware", "sudo modprobe intel_vpu"],
        "kernel": ["sudo dnf upgrade kernel"],
        "group": ["sudo usermod -aG render $USER"],
    },
    "rhel": {"GPU libraries": ["sudo dnf install"], "kernel": ["sudo dnf upgrade kernel"]},
    "opensuse-tumbleweed": {
        "GPU libraries": ["sudo zypper install libOpenCL1 intel-opencl"],
        "NPU libraries": [UPSTREAM],
        "NPU firmware": ["sudo zypper install kernel-firmware-intel"],
        "kernel": ["sudo zypper update kernel-default"],
        "group": ["sudo usermod -aG render $USER"],
    },
    "sles": {"GPU libraries": ["sudo zypper install"], "kernel": ["sudo zypper"]},
    "arch": {
        "GPU firmware": ["sudo pacman -S linux-firmware-intel"],
        "NPU stack": ["level-zero-loader intel-npu-driver intel-npu-compiler"],
        "GPU libraries": ["sudo pacman -S ocl-icd intel-compute-runtime"],
        "NPU libraries": ["sudo pacman -S level-zero-loader intel-npu-driver"],
        "NPU firmware": ["sudo pacman -S linux-firmware-intel"],
        "kernel": ["sudo pacman -Syu linux"],
        "group": ["sudo usermod -aG render $USER"],
    },
    "nixos": {
        "GPU libraries": ["pkgs.intel-compute-runtime", "sudo nixos-rebuild switch"],
        "NPU libraries": ["hardware.cpu.intel.npu.enable = true;"],
        "NPU firmware": ["hardware.cpu.intel.npu.enable = true;"],
        "kernel": ["pkgs.linuxPackages_latest"],
        "group": ['extraGroups = [ "render" ]'],
    },
    "gentoo": {
        "GPU firmware": ["xe/bmg_guc_70.bin (linux-firmware)"],
        "GPU libraries": ["libOpenCL.so.1", "compute-runtime/releases"],
        "NPU libraries": [UPSTREAM],
        "NPU firmware": [UPSTREAM, "sudo modprobe intel_vpu"],
        "kernel": ["kernel 6.6 or newer"],
        "group": ["sudo usermod -aG render $USER"],
    },
}
NEEDS = {"kernel": Needs.REBOOT, "group": Needs.NEW_LOGIN}


def bare(machine: Facts) -> Facts:
    unbind(machine)["accelerators"][0]["firmware"] = []
    return unlist(machine, machine["accelerators"][0]["kind"])


def on_kernel(machine: Facts, kernel: str) -> Facts:
    unbind(machine)["os"]["kernel"] = kernel
    return unlist(machine, "NPU")


def denied(machine: Facts) -> Facts:
    machine["accelerators"][0]["node_problem"] = "permission denied"
    return unlist(machine, "NPU")


@pytest.mark.parametrize(("system", "what"), [(one, what) for one in WORDS for what in WORDS[one]])
def test_words(system: str, what: str) -> None:
    machine = MACHINES[what]()
    machine["os"]["id"], _, version = system.partition(" ")
    machine["os"]["version"] = version
    fix = chain(machine, machine["accelerators"][0]["kind"]).fix
    assert fix is not None
    said = " ".join((fix.text, *fix.commands))
    assert [words for words in WORDS[system][what] if words not in said] == []
    if what in NEEDS:
        assert fix.needs is NEEDS[what]


def test_a_loader_that_is_good_enough_is_not_to_be_replaced() -> None:
    machine = lost(npu_machine(), "libze_intel_npu.so.1")
    machine["os"].update(id="debian", version="12")
    fix = chain(machine, "NPU").fix
    assert fix is not None
    assert "level-zero/releases" not in fix.text
    assert "level-zero_" not in " ".join(fix.commands)


@pytest.mark.parametrize("what", MACHINES)
def test_in_a_container_nothing_of_the_host_is_to_be_typed(what: str) -> None:
    machine = MACHINES[what]()
    machine["os"]["container"] = "docker"
    fix = chain(machine, machine["accelerators"][0]["kind"]).fix
    assert fix is not None
    said = " ".join((fix.text, *fix.commands))
    assert "modprobe" not in said or "host" in fix.text
    assert "usermod" not in said
    assert "host" in fix.text or "container" in fix.text


@pytest.mark.parametrize("system", WORDS)
def test_every_fix_is_one_line_and_names_no_command_of_another_system(system: str) -> None:
    machine = facts()
    machine["os"]["id"] = system
    tools = {"apt": "apt install", "dnf": "dnf install", "zypper": "zypper", "pacman": "pacman -S"}
    own = fixes.family(HostFacts.model_validate(machine))
    for what, made in MACHINES.items():
        given = made()
        given["os"]["id"] = system
        fix = chain(given, given["accelerators"][0]["kind"]).fix
        assert fix is not None, what
        said = " ".join((fix.text, *fix.commands))
        assert "\n" not in said
        assert [tool for name, tool in tools.items() if name != own and tool in said] == []
