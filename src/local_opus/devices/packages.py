"""Which packages and files to install, in the words of this distribution.

Package names. Debian, Ubuntu: ocl-icd-libopencl1, intel-opencl-icd, libze1. Fedora: intel-opencl,
whichever package has libOpenCL.so.1 (ocl-icd and OpenCL-ICD-Loader exclude each other),
oneapi-level-zero, intel-npu-driver,
intel-npu-compiler, intel-npu-firmware. openSUSE: intel-opencl, libOpenCL1. Arch: ocl-icd,
intel-compute-runtime, level-zero-loader, intel-npu-driver, intel-npu-compiler. Intel's own debs of
the NPU: intel-fw-npu, intel-level-zero-npu, intel-driver-compiler-npu.
"""

from __future__ import annotations

from local_opus.devices.fixes import UBUNTU, Family, family, in_container, nix
from local_opus.values import Fix, HostFacts, Needs

NPU_RELEASES = "https://github.com/intel/linux-npu-driver/releases"
GPU_RELEASES = "https://github.com/intel/compute-runtime/releases"
_INSTALL = {
    Family.APT: "sudo apt install {}",
    Family.DNF: "sudo dnf install {}",
    Family.ZYPPER: "sudo zypper install {}",
    Family.PACMAN: "sudo pacman -S {}",
}
_OPENCL = {
    Family.APT: "ocl-icd-libopencl1",
    Family.DNF: "'libOpenCL.so.1()(64bit)'",
    Family.ZYPPER: "libOpenCL1",
    Family.PACMAN: "ocl-icd",
}
_GPU_DRIVER = {
    Family.APT: "intel-opencl-icd",
    Family.DNF: "intel-opencl",
    Family.ZYPPER: "intel-opencl",
    Family.PACMAN: "intel-compute-runtime",
}
_NIX_GPU = "hardware.graphics = { enable = true; extraPackages = [ pkgs.intel-compute-runtime ]; };"
_NIX_NPU = "hardware.cpu.intel.npu.enable = true;"
_RELOAD_NPU = ("sudo modprobe -r intel_vpu", "sudo modprobe intel_vpu")


def npu_firmware(facts: HostFacts, file: str) -> Fix:
    """Return how to get the NPU's firmware, and to have the driver load it."""
    if in_container(facts):
        return Fix(text=f"Install {file} on the container's host, below /lib/firmware.")
    if family(facts) is Family.NIX:
        return nix("Turn the NPU on", _NIX_NPU, Needs.REBOOT)
    packages = {
        Family.DNF: "intel-npu-firmware",
        Family.PACMAN: "linux-firmware-intel intel-npu-driver",
        Family.ZYPPER: "kernel-firmware-intel",
    }.get(family(facts))
    if packages is not None:
        return Fix(
            text=f"Install the firmware {file} and load the driver again.",
            commands=(_install(facts, packages), *_RELOAD_NPU),
        )
    text = f"Install the firmware {file} (intel-fw-npu of {NPU_RELEASES}, or a newer "
    if family(facts) is Family.APT:
        return Fix(
            text=f"{text}linux-firmware) and load the driver again.",
            commands=("sudo apt install ./intel-fw-npu_*.deb", *_RELOAD_NPU),
        )
    return Fix(text=f"{text}linux-firmware) and load the driver again.", commands=_RELOAD_NPU)


def gpu_firmware(facts: HostFacts, file: str) -> Fix:
    """Return how to get a GPU's firmware."""
    if in_container(facts):
        return Fix(
            text=f"Install the firmware {file} on the container's host (linux-firmware).",
            needs=Needs.REBOOT,
        )
    debian = "firmware-misc-nonfree" if facts.os.version == "12" else "firmware-intel-graphics"
    packages = {
        Family.APT: debian if facts.os.id == "debian" else "linux-firmware",
        Family.DNF: "intel-gpu-firmware",
        Family.ZYPPER: "kernel-firmware-i915",
        Family.PACMAN: "linux-firmware-intel",
    }.get(family(facts))
    return Fix(
        text=f"Install the firmware {file} (linux-firmware) and start again.",
        commands=(_install(facts, packages),) if packages else (),
        needs=Needs.REBOOT,
    )


def gpu_libraries(facts: HostFacts, *, loader: bool, driver: bool) -> Fix:
    """Return how to install the OpenCL loader, Intel's OpenCL driver, or both."""
    kind = family(facts)
    what = " and ".join(["the OpenCL loader"] * loader + ["Intel's OpenCL driver"] * driver)
    where = _inside(facts)
    if kind is Family.NIX:
        return nix(f"Add {what}", _NIX_GPU)
    names = [one.get(kind) for one, wanted in ((_OPENCL, loader), (_GPU_DRIVER, driver)) if wanted]
    if None in names:
        return Fix(text=f"Install {what}{where} (libOpenCL.so.1; {GPU_RELEASES}).")
    return Fix(
        text=f"Install {what}{where}.",
        commands=(_install(facts, " ".join(str(name) for name in names)),),
    )


def newer_gpu_driver(facts: HostFacts, platform: str) -> Fix:
    """Return how to come to a compute runtime that knows a platform."""
    text = f"Install a newer compute runtime, one that knows {platform}{_inside(facts)}"
    if facts.os.id in UBUNTU:
        return Fix(
            text=f"{text} (Intel's graphics PPA).",
            commands=(
                "sudo add-apt-repository ppa:kobuk-team/intel-graphics",
                "sudo apt install intel-opencl-icd libze-intel-gpu1",
            ),
        )
    if family(facts) in {Family.DNF, Family.ZYPPER, Family.PACMAN}:
        fix = gpu_libraries(facts, loader=False, driver=True)
        return fix.model_copy(update={"text": f"{text}; if this system has none, {GPU_RELEASES}."})
    if family(facts) is Family.NIX:
        return nix(f"{text}: update nixpkgs", _NIX_GPU)
    return Fix(text=f"{text}: {GPU_RELEASES} (on Debian also a newer Debian).")


def legacy_gpu_driver(facts: HostFacts) -> Fix:
    """Return how to come to the compute runtime that serves the generations before Xe."""
    if family(facts) is Family.NIX:
        return nix("Add the older driver", _NIX_GPU.replace("runtime", "runtime-legacy1"))
    return Fix(
        text=f"Install the compute runtime of the older generations{_inside(facts)}: the packages "
        f"*legacy1* of release 24.35.30872 at {GPU_RELEASES}."
    )


def npu_libraries(facts: HostFacts, *, loader: bool, driver: bool, compiler: bool) -> Fix:
    """Return how to install the Level Zero loader, the NPU's driver, its compiler."""
    kind = family(facts)
    what = _and(
        ["the Level Zero loader"] * loader
        + ["the NPU's user-space driver"] * driver
        + ["the NPU's compiler"] * compiler
    )
    text = f"Install {what}{_inside(facts)}"
    if kind is Family.NIX:
        return nix(f"Add {what}", _NIX_NPU)
    if kind in {Family.DNF, Family.PACMAN}:
        first = {Family.DNF: "oneapi-level-zero", Family.PACMAN: "level-zero-loader"}[kind]
        names = [first] * loader + ["intel-npu-driver"] * driver + ["intel-npu-compiler"] * compiler
        return Fix(
            text=f"{text}; where this release has no such package, {NPU_RELEASES}.",
            commands=(_install(facts, " ".join(names)),),
        )
    if kind is Family.APT:
        debs = ["./intel-level-zero-npu_*.deb"] * driver
        debs += ["./intel-driver-compiler-npu_*.deb"] * compiler
        names = (["./level-zero_*.deb"] if _loader_is_old(facts) else ["libze1"]) * loader + debs
        source = "" if names == ["libze1"] else f" from {_source(facts, loader=loader, debs=debs)}"
        return Fix(text=f"{text}{source}.", commands=(_install(facts, " ".join(names)),))
    return Fix(
        text=f"{text}: {NPU_RELEASES}"
        + (" and https://github.com/oneapi-src/level-zero/releases." if loader else ".")
    )


def _source(facts: HostFacts, *, loader: bool, debs: list[str]) -> str:
    own = ["https://github.com/oneapi-src/level-zero/releases"]
    own = own if loader and _loader_is_old(facts) else []
    return " and ".join(([NPU_RELEASES] if debs else []) + own)


def _loader_is_old(facts: HostFacts) -> bool:
    # Debian 12's libze1 (1.8.12) lacks functions that OpenVINO's plugin asks for.
    return facts.os.id == "debian" and facts.os.version in {"11", "12"}


def _install(facts: HostFacts, packages: str) -> str:
    return _INSTALL[family(facts)].format(packages)


def _inside(facts: HostFacts) -> str:
    return " inside the container" if in_container(facts) else ""


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
